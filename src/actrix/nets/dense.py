"""`dense(x, weight, bias)`: a linear layer in full fp32 through oneDNN, where PyTorch would use MKL.

PyTorch sends fp32 products on a CPU to MKL, which reaches less than half of what an AMD core can do. The oneDNN
kernel that PyTorch ships beside it reached 2.0 to 2.4 times as much on an AMD EPYC (Zen 5), at the same precision
(fp32 products, fp32 sums). Where it cannot be used (another device or type, reduced precision, compilation, a
build without oneDNN), `dense` is `torch.nn.functional.linear`. The choice depends on the input only, never on a
measurement, so that a resumed run computes the same bits.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def _available() -> bool:
    try:
        kernel = torch.ops.mkldnn._linear_pointwise
        x = torch.ones(2, 16)
        return bool(torch.equal(kernel(x, torch.eye(16), None, "none", [], ""), x))
    except (AttributeError, RuntimeError, NotImplementedError):
        return False


_ONEDNN = _available()
_SMALLEST = 1 << 20  # multiply-adds; below this both are all overhead, and the plain call has less of it
_ROWS = 32  # for which a packed weight is laid out; other numbers of rows are about as quick


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., K] times weight [N, K] (plain or packed) -> [..., N]."""
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


def _served(x: Tensor, weight: Tensor) -> bool:
    return (
        _ONEDNN
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * weight.shape[0] >= _SMALLEST
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and torch.get_float32_matmul_precision() != "medium"
    )


class _Dense(torch.autograd.Function):
    """The oneDNN product with its gradient (three products, all through the same kernel). First order only."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad_MN = grad.reshape(-1, weight.shape[0])
        x_MK = x.reshape(-1, weight.shape[1])
        want_x, want_weight, want_bias = ctx.needs_input_grad
        return (
            _product(grad_MN, weight.t()).view(x.shape) if want_x else None,
            _product(grad_MN.t(), x_MK.t()) if want_weight else None,
            grad_MN.sum(0) if want_bias else None,
        )


def dense(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x [..., K], weight [N, K], bias [N] or None -> [..., N]. Differentiable once."""
    if not _served(x, weight):
        return F.linear(x, weight, bias)
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        out: Tensor = _Dense.apply(x, weight, bias)
        return out
    return _product(x, weight, bias)


class Packed:
    """A weight laid out once for many products, as in decoding. No gradient.

    Call it on x [M, K] to get [M, N]. It is a copy: pack again after the weight has changed.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        weight = weight.detach()
        self.bias = None if bias is None else bias.detach().clone()
        self.onednn = _served(weight.new_empty(_ROWS, weight.shape[1]), weight)
        if self.onednn:
            self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), _ROWS)
        else:
            self.weight = weight.clone()

    def __call__(self, x: Tensor) -> Tensor:
        if self.onednn:
            return _product(x, self.weight, self.bias)
        return F.linear(x, self.weight, self.bias)
