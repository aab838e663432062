"""What lies between the products of a training step of a `Transformer`, by the C kernels: fp32, eager, on a CPU.

The same as the PyTorch path in `actrix.nets.transformer`, up to rounding, and differentiable once. Attention is one
pass forward and one backward: rotation, shared beginnings and causality are part of it, and rows are as long as they
are. Key heads are shared out over torch's threads.

Suffixes: B rows, L length, N distinct prefixes (B L without shared ones), H query heads, K key heads, D head dimension.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from actrix.nets.native import CForest, Kernels, kernels


def native(x: Tensor) -> Kernels | None:
    """The kernels, if they serve for this: not inside a graph, which fuses by itself; fp32; on the CPU."""
    if torch.compiler.is_compiling() or torch.compiler.is_exporting():
        return None
    if x.device.type != "cpu" or x.dtype != torch.float32:
        return None
    return kernels()


class Forest:
    """Rows to attend over. cos, sin [L, 2, D/2] as from `rotary_tables`; node_BL and place_N as in `Prefixes`, and the
    rows' lengths; None: B rows of L places, nothing shared."""

    def __init__(
        self, native: Kernels, cos: Tensor, sin: Tensor, heads: int, keys: int, rows: int,
        shared: tuple[Tensor, Tensor, Tensor] | None,
    ) -> None:  # fmt: skip
        self.native, self.heads, self.keys = native, heads, keys
        self.length, self.dim = cos.shape[0], 2 * cos.shape[2]
        if shared is None:
            place = torch.arange(rows * self.length)
            shared = place, torch.full((rows,), self.length), place
        self._kept = (*(t.contiguous() for t in shared), cos[:, 0].contiguous(), sin[:, 1].contiguous())
        addresses = (t.data_ptr() for t in self._kept)
        self.forest = CForest(rows, self.length, heads, keys, self.dim, *addresses)

    def run(self, qkv: Tensor, grad: Tensor | None, out: Tensor) -> None:
        """Attention of qkv [N, H + 2 K, D] into out [N, H, D]; with its `grad`, that of `qkv` is added to `out`."""

        def part(start: int, end: int) -> None:
            work = torch.empty(self.native.attention_room(ctypes.byref(self.forest)))
            arrays = (None if t is None else t.data_ptr() for t in (qkv, grad, out, work))
            self.native.attention(ctypes.byref(self.forest), *arrays, start, end)

        _share_out(part, self.keys)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, forest: Forest) -> Tensor:
        qkv = qkv.contiguous()
        ctx.save_for_backward(qkv)
        ctx.forest = forest
        out = qkv.new_empty(*qkv.shape[:-1], forest.heads * forest.dim)
        forest.run(qkv, None, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (qkv,) = ctx.saved_tensors
        back, grad = torch.zeros_like(qkv), grad.contiguous()
        ctx.forest.run(qkv, grad, back)
        return back, None


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, up: Tensor, native: Kernels) -> Tensor:
        up = up.contiguous()
        ctx.save_for_backward(up)
        ctx.native = native
        out = up.new_empty(*up.shape[:-1], up.shape[-1] // 2)
        _gate(native, up, out, None, None)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (up,) = ctx.saved_tensors
        back = torch.empty_like(up)
        _gate(ctx.native, up, None, grad.contiguous(), back)
        return back, None


def _gate(native: Kernels, up: Tensor, out: Tensor | None, grad: Tensor | None, back: Tensor | None) -> None:
    width = up.shape[-1] // 2

    def part(start: int, end: int) -> None:
        steps = ((up, 8), (out, 4), (grad, 4), (back, 8))  # bytes of a line for each unit of width
        places = (None if t is None else t.data_ptr() + start * width * size for t, size in steps)
        native.gated(*places, end - start, width)

    _share_out(part, up.numel() // (2 * width))


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, eps: float, native: Kernels) -> Tensor:
        x, gain = x.contiguous(), gain.contiguous()
        ctx.save_for_backward(x, gain)
        ctx.eps, ctx.native = eps, native
        out, width = torch.empty_like(x), x.shape[-1]

        def part(start: int, end: int) -> None:
            mine = (t.data_ptr() + 4 * start * width for t in (x, out))
            native.rms_norm(next(mine), width, gain.data_ptr(), next(mine), end - start, width, eps)

        _share_out(part, x.numel() // width)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, gain = ctx.saved_tensors
        grad, back, width = grad.contiguous(), torch.empty_like(x), x.shape[-1]
        to_gains: dict[int, Tensor] = {}  # of each part

        def part(start: int, end: int) -> None:
            to_gains[start] = torch.zeros_like(gain)
            mine, above, below = (t.data_ptr() + 4 * start * width for t in (x, grad, back))
            arrays = (mine, gain.data_ptr(), above, below, to_gains[start].data_ptr())
            ctx.native.rms_norm_back(*arrays, end - start, width, ctx.eps)

        _share_out(part, x.numel() // width)
        return back, sum((to_gains[start] for start in sorted(to_gains)), torch.zeros_like(gain)), None, None


def rms_norm(x: Tensor, gain: Tensor, eps: float, native: Kernels) -> Tensor:
    """x / rms(x) times the gain, over the last dimension."""
    out: Tensor = _Norm.apply(x, gain, eps, native)
    return out


def attention(qkv: Tensor, forest: Forest) -> Tensor:
    """Causal attention with rotary positions: qkv [..., (H + 2 K) D] of N places -> [..., H D]."""
    out: Tensor = _Attention.apply(qkv, forest)
    return out


def swiglu(up: Tensor, native: Kernels) -> Tensor:
    """silu(gate) * value, for up [..., gate then value]."""
    out: Tensor = _Gated.apply(up, native)
    return out


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_name_prefix="actrix")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not follow into a forked process


def _share_out(part: Callable[[int, int], None], count: int) -> None:
    """part(start, end) over ranges that make up `count`, one for each of torch's threads, at once."""
    threads = min(torch.get_num_threads(), count)
    edges = [count * i // max(threads, 1) for i in range(threads + 1)]
    others = [_pool().submit(part, *pair) for pair in pairwise(edges[1:])]
    if threads:
        part(edges[0], edges[1])
    for other in others:
        other.result()
