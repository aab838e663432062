"""A run's policy as one C file that needs nothing but the standard library: for microcontrollers and the like.

    void actrix_act(const float obs[D], float action[A]);        (and `const uint8_t mask[C]`, where there are masks)

It is the same map as the ONNX file (see `deploy.onnx`): canonical observation in, without the privileged parts; the
environment's own action out; observation normaliser, network, scaling and clipping between. No allocation, no state:
weights are constants, everything else is on the stack.

The map is traced as a graph of tensor operations for one observation, and each operation becomes a loop. Any policy
can be written whose graph consists of the operations below: those of MLP actors of every kind, with normalisers,
layer norms and masks, and those of boosted trees; convolutions are not among them. Where there is a C compiler,
nothing is written before the compiled file has agreed with the policy on random and extreme inputs, as for ONNX.
"""

from __future__ import annotations

import ctypes
import json
import math
import operator
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import actrix
from actrix.deploy.onnx import Exportable, compare, exportable, plain_products, quiet, traced, write
from actrix.errors import ActrixError, brief

TYPES = {
    torch.float32: "float", torch.float64: "double", torch.int64: "int64_t", torch.int32: "int32_t",
    torch.int16: "int16_t", torch.int8: "int8_t", torch.uint8: "uint8_t", torch.bool: "uint8_t",
}  # fmt: skip
# {f} is the suffix of float functions; operands are a, b, c
ELEMENTWISE = {
    "tanh": "tanh{f}({a})", "exp": "exp{f}({a})", "log": "log{f}({a})", "sqrt": "sqrt{f}({a})", "neg": "-{a}",
    "rsqrt": "1 / sqrt{f}({a})", "reciprocal": "1 / {a}", "abs": "fabs{f}({a})", "sin": "sin{f}({a})",
    "cos": "cos{f}({a})", "erf": "erf{f}({a})", "expm1": "expm1{f}({a})", "log1p": "log1p{f}({a})",
    "round": "rint{f}({a})", "sigmoid": "1 / (1 + exp{f}(-{a}))", "relu": "{a} < 0 ? 0 : {a}",
    "add": "{a} + {b}", "sub": "{a} - {b}", "mul": "{a} * {b}", "div": "{a} / {b}", "pow": "pow{f}({a}, {b})",
    "maximum": "{a} > {b} || {a} != {a} ? {a} : {b}", "minimum": "{a} < {b} || {a} != {a} ? {a} : {b}",
    "gt": "{a} > {b}", "ge": "{a} >= {b}", "lt": "{a} < {b}", "le": "{a} <= {b}", "eq": "{a} == {b}",
    "ne": "{a} != {b}", "logical_and": "{a} && {b}", "logical_or": "{a} || {b}", "logical_not": "!{a}",
    "bitwise_and": "{a} & {b}", "bitwise_or": "{a} | {b}", "bitwise_not": "!{a}", "where": "{a} ? {b} : {c}",
    "gelu": "{a} * (1 + erf{f}({a} * 0.70710678118654752{f})) / 2", "elu": "{a} > 0 ? {a} : expm1{f}({a})",
    "_to_copy": "{a}", "expand": "{a}", "clone": "{a}",
}  # fmt: skip
SAME = {"view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "alias", "detach", "lift_fresh_copy"}
REDUCE = {  # first value, and each step
    "sum": ("0", "s + {a}"), "mean": ("0", "s + {a}"), "any": ("0", "s || {a}"),
    "amax": ("-INFINITY", "{a} > s ? {a} : s"), "amin": ("INFINITY", "{a} < s ? {a} : s"),
}  # fmt: skip


MOST_STACK = 4 << 20  # bytes of arrays: half of what a process has on most systems
AS_ONNX = "export it as ONNX: give --out a name that ends in .onnx"


class Writer:
    """Turns the nodes of one graph into C. Every value is an array in row-major order."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}  # node -> C array
        self.values: dict[str, Tensor] = {}  # node -> its shape and type (a meta or real tensor)
        self.constants: list[str] = []
        self.body: list[str] = []
        self.arrays: dict[str, tuple[str, int]] = {}  # C array -> type and length
        self.written: dict[tuple[torch.dtype, bytes], str] = {}  # constant -> C array
        self.known: dict[str, Tensor] = {}  # node -> its value, where that is a constant

    def constant(self, node: str, value: Tensor) -> None:
        self.values[node] = self.known[node] = value
        content = (value.dtype, value.contiguous().numpy().tobytes())
        if content in self.written:  # the same at every step of a policy that takes several
            self.names[node] = self.written[content]
            return
        name = self.names[node] = self.written[content] = f"w{len(self.constants)}"
        flat = ", ".join(literal(x, value.dtype) for x in value.reshape(-1).tolist()) or "0"
        self.constants.append(f"static const {TYPES[value.dtype]} {name}[{max(value.numel(), 1)}] = {{{flat}}};")

    def declare(self, node: str, value: Tensor) -> str:
        name = f"v{len(self.names)}"
        self.names[node], self.values[node] = name, value
        self.arrays[name] = (TYPES[value.dtype], max(value.numel(), 1))
        return name

    def packed(self) -> tuple[list[str], int]:
        """The function's body, and the bytes of its arrays.

        An array whose last use is over gives its room to the next of its type, so that the stack need not hold a policy
        that takes many steps.
        """
        named = [[name for name in re.findall(r"\bv\d+\b", line) if name in self.arrays] for line in self.body]
        last = {name: i for i, names in enumerate(named) for name in names}
        rooms: list[tuple[str, int]] = []
        room: dict[str, int] = {}
        free: set[int] = set()
        for i, names in enumerate(named):
            for name in dict.fromkeys(names):
                if name in room:
                    continue
                kind, length = self.arrays[name]
                fits = [r for r in free if rooms[r][0] == kind]
                if fits:
                    room[name] = best = min(fits, key=lambda r: abs(rooms[r][1] - length))
                    rooms[best] = (kind, max(length, rooms[best][1]))
                    free.remove(best)
                else:
                    room[name] = len(rooms)
                    rooms.append((kind, length))
            free |= {room[name] for name in names if last[name] == i}
        declared = [f"{kind} v{r}[{length}];" for r, (kind, length) in enumerate(rooms)]
        bytes_of = {TYPES[t]: torch.empty(0, dtype=t).element_size() for t in TYPES}
        stack = sum(bytes_of[kind] * length for kind, length in rooms)
        return declared + [re.sub(r"\bv\d+\b", lambda m: f"v{room[m[0]]}", line) for line in self.body], stack

    def loop(self, size: int, line: str) -> None:
        self.body.append(f"for (int i = 0; i < {size}; i++) {line}")

    def operand(self, item: Any, out: Tensor, like: torch.dtype) -> str:
        """What stands for an argument at element i of `out`, broadcast."""
        if not isinstance(item, torch.fx.Node):
            return literal(item, like)
        shape = self.values[item.name].shape
        strides = contiguous(shape)
        aligned = [0] * (out.ndim - len(shape)) + [0 if n == 1 else s for n, s in zip(shape, strides)]
        return f"{self.names[item.name]}[{at('i', out.shape, aligned)}]"

    def node(self, node: torch.fx.Node) -> None:
        """One operation; ActrixError where it has no words in C here."""
        args: Any = node.args
        if node.target is operator.getitem:
            self.names[node.name] = self.names[f"{args[0].name}[{args[1]}]"]
            self.values[node.name] = self.values[f"{args[0].name}[{args[1]}]"]
            return
        name = str(node.target).split(".")[1] if "." in str(node.target) else str(node.target)
        if name in ("_assert_tensor_metadata", "_assert_scalar", "_assert_async", "sym_constrain_range_for_size"):
            return
        value = node.meta["val"]
        if name in SAME:
            self.names[node.name], self.values[node.name] = self.names[args[0].name], value
            if args[0].name in self.known:
                self.known[node.name] = self.known[args[0].name].reshape(value.shape)
            return
        special: Callable[..., None] | None = getattr(self, f"_{name.strip('_')}", None)
        if special is not None:
            special(node, value, *args, **node.kwargs)
        elif name in REDUCE:
            self._reduce(node, value, name, *args)
        elif name in ELEMENTWISE:
            self._elementwise(node, value, ELEMENTWISE[name], *args, **node.kwargs)
        else:
            raise ActrixError(f"this policy cannot be written as C: there is no C for the operation {name}", AS_ONNX)

    def _elementwise(self, node: torch.fx.Node, out: Tensor, form: str, *args: Any, **kwargs: Any) -> None:
        if kwargs.get("alpha", 1) != 1:
            form = form.replace("{b}", f"{literal(kwargs['alpha'], out.dtype)} * {{b}}")
        tensors = [self.values[a.name].dtype for a in args if isinstance(a, torch.fx.Node)]
        like = promoted(tensors, out.dtype)
        # (sizes and the like, which follow a tensor, are no operands)
        found = [self.operand(a, out, like) for a in args if not isinstance(a, list | tuple)]
        text = form.format(f="" if like == torch.float64 else "f", **dict(zip("abc", found)))
        name = self.declare(node.name, out)
        self.loop(out.numel(), f"{name}[i] = ({TYPES[out.dtype]})({text});")

    def _clamp(self, node: torch.fx.Node, out: Tensor, a: Any, low: Any = None, high: Any = None) -> None:
        form = "{a}"
        x = self.operand(a, out, out.dtype)
        if high is not None:
            top = self.operand(high, out, out.dtype)
            form = f"{x} > {top} ? {top} : {form}"
        if low is not None:
            bottom = self.operand(low, out, out.dtype)
            form = f"{x} < {bottom} ? {bottom} : ({form})"
        self._elementwise(node, out, form.replace("{a}", x))

    def _clamp_min(self, node: torch.fx.Node, out: Tensor, a: Any, low: Any) -> None:
        self._clamp(node, out, a, low)

    def _clamp_max(self, node: torch.fx.Node, out: Tensor, a: Any, high: Any) -> None:
        self._clamp(node, out, a, None, high)

    def _addmm(self, node: torch.fx.Node, out: Tensor, bias: Any, x: Any, weight: Any, **kwargs: Any) -> None:
        if kwargs:
            raise ActrixError(f"this policy cannot be written as C: a product with {kwargs}", AS_ONNX)
        start = self.operand(bias, out, out.dtype)
        self._product(node, out, start, x, weight)

    def _mm(self, node: torch.fx.Node, out: Tensor, x: Any, weight: Any) -> None:
        self._product(node, out, "0", x, weight)

    def _product(self, node: torch.fx.Node, out: Tensor, start: str, x: Any, weight: Any) -> None:
        rows, inner = self.values[x.name].shape
        columns, name = out.shape[1], self.declare(node.name, out)
        self.loop(out.numel(), f"{name}[i] = {start};")
        self.body.append(
            f"for (int r = 0; r < {rows}; r++) for (int k = 0; k < {inner}; k++) for (int j = 0; j < {columns}; j++)\n"
            f"    {name}[r * {columns} + j] += {self.names[x.name]}[r * {inner} + k]"
            f" * {self.names[weight.name]}[k * {columns} + j];"
        )

    def _bmm(self, node: torch.fx.Node, out: Tensor, x: Any, weight: Any) -> None:
        (_, rows, inner), columns = self.values[x.name].shape, out.shape[2]
        name, block = self.declare(node.name, out), f"i / {rows * columns}"
        total = f"s += {self.names[x.name]}[(i / {columns}) * {inner} + k]"
        total += f" * {self.names[weight.name]}[({block}) * {inner * columns} + k * {columns} + i % {columns}]"
        kind = TYPES[out.dtype]
        self.loop(out.numel(), f"{{ {kind} s = 0; for (int k = 0; k < {inner}; k++) {total}; {name}[i] = s; }}")

    def _baddbmm(self, node: torch.fx.Node, out: Tensor, bias: Any, x: Any, weight: Any) -> None:
        self._bmm(node, out, x, weight)
        self.loop(out.numel(), f"{self.names[node.name]}[i] += {self.operand(bias, out, out.dtype)};")

    def _log_softmax(self, node: torch.fx.Node, out: Tensor, x: Any, dim: int, half: bool = False) -> None:
        size, place = self._along(x, dim)
        name, source = self.declare(node.name, out), place.format("k")
        there = f"{name}{source[source.index('[') :]}"
        each = f"for (int k = 0; k < {size}; k++)"
        self.loop(
            out.numel() // size,
            f"{{ double m = -INFINITY, s = 0; {each} if ({source} > m) m = {source};\n"
            f"    {each} s += exp({source} - m); {each} {there} = (float)({source} - m - log(s)); }}",
        )

    def _softmax(self, node: torch.fx.Node, out: Tensor, x: Any, dim: int, half: bool = False) -> None:
        self._log_softmax(node, out, x, dim, half)
        self.loop(out.numel(), f"{self.names[node.name]}[i] = expf({self.names[node.name]}[i]);")

    def _cumsum(self, node: torch.fx.Node, out: Tensor, x: Any, dim: int, **kwargs: Any) -> None:
        size, place = self._along(x, dim)
        name, source = self.declare(node.name, out), place.format("k")
        there = f"{name}{source[source.index('[') :]}"
        total = f"for (int k = 0; k < {size}; k++) {{ s += {source}; {there} = s; }}"
        self.loop(out.numel() // size, f"{{ {TYPES[out.dtype]} s = 0; {total} }}")

    def _slice(
        self, node: torch.fx.Node, out: Tensor, x: Any, dim: int = 0, start: Any = 0, stop: Any = None, step: int = 1
    ) -> None:
        shape = self.values[x.name].shape
        strides = contiguous(shape)
        dim, first = dim % len(shape), slice(start, stop).indices(shape[dim])[0]
        offset = first * strides[dim]
        strides[dim] *= step
        self._pick(node, out, x, offset, strides)

    def _select(self, node: torch.fx.Node, out: Tensor, x: Any, dim: int, index: int) -> None:
        shape = self.values[x.name].shape
        strides = contiguous(shape)
        offset = index % shape[dim] * strides.pop(dim % len(shape))
        self._pick(node, out, x, offset, strides)

    def _permute(self, node: torch.fx.Node, out: Tensor, x: Any, dims: Sequence[int]) -> None:
        strides = contiguous(self.values[x.name].shape)
        self._pick(node, out, x, 0, [strides[d] for d in dims])

    def _split_with_sizes(self, node: torch.fx.Node, out: Sequence[Tensor], x: Any, sizes: Any, dim: int = 0) -> None:
        strides, start = contiguous(self.values[x.name].shape), 0
        for k, (size, piece) in enumerate(zip(sizes, out)):
            self._pick(f"{node.name}[{k}]", piece, x, start * strides[dim], strides)
            start += size

    def _pick(self, node: Any, out: Tensor, x: Any, offset: int, strides: Sequence[int]) -> None:
        whose = node if isinstance(node, str) else node.name
        if x.name in self.known:  # (a transposed weight, say)
            self.constant(whose, self.known[x.name].contiguous().as_strided(out.shape, strides, offset))
            return
        name = self.declare(whose, out)
        self.loop(out.numel(), f"{name}[i] = {self.names[x.name]}[{offset} + {at('i', out.shape, strides)}];")

    def _index_select(self, node: torch.fx.Node, out: Tensor, x: Any, dim: int, index: Any) -> None:
        name, strides, shape = self.declare(node.name, out), contiguous(self.values[x.name].shape), list(out.shape)
        dim %= out.ndim
        chosen = f"{self.names[index.name]}[{at('i', shape, [int(d == dim) for d in range(out.ndim)])}]"
        rest = at("i", shape, [0 if d == dim else s for d, s in enumerate(strides)])
        self.loop(out.numel(), f"{name}[i] = {self.names[x.name]}[{rest} + {chosen} * {strides[dim]}];")

    def _gather(self, node: torch.fx.Node, out: Tensor, x: Any, dim: int, index: Any, **kwargs: Any) -> None:
        name, strides = self.declare(node.name, out), contiguous(self.values[x.name].shape)
        dim %= out.ndim
        rest = at("i", out.shape, [0 if d == dim else s for d, s in enumerate(strides)])
        chosen = f"{self.names[index.name]}[i] * {strides[dim]}"
        self.loop(out.numel(), f"{name}[i] = {self.names[x.name]}[{rest} + {chosen}];")

    def _embedding(self, node: torch.fx.Node, out: Tensor, table: Any, index: Any, *args: Any) -> None:
        name, width = self.declare(node.name, out), self.values[table.name].shape[1]
        place = f"{self.names[index.name]}[i / {width}] * {width} + i % {width}"
        self.loop(out.numel(), f"{name}[i] = {self.names[table.name]}[{place}];")

    def _cat(self, node: torch.fx.Node, out: Tensor, parts: Sequence[Any], dim: int = 0) -> None:
        name, strides, start = self.declare(node.name, out), contiguous(out.shape), 0
        for part in parts:
            shape = self.values[part.name].shape
            where = f"{start * strides[dim]} + {at('i', shape, strides)}"
            self.loop(math.prod(shape), f"{name}[{where}] = {self.names[part.name]}[i];")
            start += shape[dim]

    def _repeat(self, node: torch.fx.Node, out: Tensor, x: Any, times: Sequence[int]) -> None:
        shape, name = list(self.values[x.name].shape), self.declare(node.name, out)
        shape = [1] * (len(times) - len(shape)) + shape
        own, strides = contiguous(out.shape), contiguous(shape)
        place = " + ".join(f"i / {mine} % {n} * {stride}" for mine, n, stride in zip(own, shape, strides))
        self.loop(out.numel(), f"{name}[i] = {self.names[x.name]}[{place}];")

    def _full(self, node: torch.fx.Node, out: Tensor, size: Any, value: Any, **kwargs: Any) -> None:
        self._elementwise(node, out, literal(value, out.dtype))

    def _full_like(self, node: torch.fx.Node, out: Tensor, x: Any, value: Any, **kwargs: Any) -> None:
        self._elementwise(node, out, literal(value, out.dtype))

    def _scalar_tensor(self, node: torch.fx.Node, out: Tensor, value: Any, **kwargs: Any) -> None:
        self._elementwise(node, out, literal(value, out.dtype))

    def _arange(self, node: torch.fx.Node, out: Tensor, *numbers: Any, **kwargs: Any) -> None:
        self.constant(node.name, torch.arange(*numbers, dtype=out.dtype))

    def _remainder(self, node: torch.fx.Node, out: Tensor, a: Any, b: Any) -> None:
        whole = "({a} % {b} + {b}) % {b}"  # the sign is that of b, as in Python
        self._elementwise(node, out, "{a} - {b} * floor{f}({a} / {b})" if out.is_floating_point() else whole, a, b)

    def _topk(
        self, node: torch.fx.Node, out: Sequence[Tensor], x: Any, k: int, dim: int = -1, largest: bool = True,
        ordered: bool = True,
    ) -> None:  # fmt: skip
        """The first of equals, as often as there are places: each compares with those taken before it."""
        size, source = self._last(x, dim), self.names[x.name]
        values, places = (self.declare(f"{node.name}[{i}]", piece) for i, piece in enumerate(out))
        row, more = f"{source}[i * {size} + ", ">" if largest else "<"
        self.loop(
            out[0].numel() // max(k, 1),
            f"for (int j = 0; j < {k}; j++) {{ int best = -1; for (int c = 0; c < {size}; c++) {{\n"
            f"    int taken = 0; for (int t = 0; t < j; t++) taken |= {places}[i * {k} + t] == c;\n"
            f"    if (!taken && (best < 0 || {row}c] {more} {row}best])) best = c; }}\n"
            f"    {places}[i * {k} + j] = best; {values}[i * {k} + j] = {row}best]; }}",
        )

    def _scatter(self, node: torch.fx.Node, out: Tensor, x: Any, dim: int, index: Any, value: Any) -> None:
        name, shape = self.declare(node.name, out), self.values[index.name].shape
        self.loop(out.numel(), f"{name}[i] = {self.names[x.name]}[i];")
        strides, dim = contiguous(out.shape), dim % out.ndim
        rest = at("i", shape, [0 if d == dim else s for d, s in enumerate(strides)])
        if isinstance(value, torch.fx.Node):
            given = f"{self.names[value.name]}[{at('i', shape, contiguous(self.values[value.name].shape))}]"
        else:
            given = literal(value, out.dtype)
        place = f"{rest} + {self.names[index.name]}[i] * {strides[dim]}"
        self.loop(math.prod(shape), f"{name}[{place}] = {given};")

    def _argmax(self, node: torch.fx.Node, out: Tensor, x: Any, dim: int = -1, keepdim: bool = False) -> None:
        size, place = self._along(x, dim)
        name = self.declare(node.name, out)
        step = f"if ({place.format('k')} > {place.format(f'{name}[i]')}) {name}[i] = k;"
        self.loop(out.numel(), f"{{ {name}[i] = 0; for (int k = 1; k < {size}; k++) {step} }}")

    def _reduce(
        self, node: torch.fx.Node, out: Tensor, how: str, x: Any, dim: Any = None, keepdim: bool = False
    ) -> None:
        size, place = self._along(x, dim)
        name, kind = self.declare(node.name, out), TYPES[out.dtype]
        first, form = REDUCE[how]
        step, share = form.format(a=place.format("k")), f" / {size}" if how == "mean" else ""
        self.loop(
            out.numel(), f"{{ {kind} s = {first}; for (int k = 0; k < {size}; k++) s = {step}; {name}[i] = s{share}; }}"
        )

    def _along(self, x: Any, dim: Any) -> tuple[int, str]:
        """How many elements there are along a dimension (several, or all where none is named), and where number {0} of
        those of result i is."""
        shape = list(self.values[x.name].shape)
        dims = list(range(len(shape))) if dim is None or dim == [] else [dim] if isinstance(dim, int) else list(dim)
        gone, strides = [d % len(shape) for d in dims], contiguous(shape)
        kept = [d for d in range(len(shape)) if d not in gone]
        place = at("i", [shape[d] for d in kept], [strides[d] for d in kept])
        number = at("({0})", [shape[d] for d in gone], [strides[d] for d in gone])
        return math.prod(shape[d] for d in gone), f"{self.names[x.name]}[{place} + {number}]"

    def _last(self, x: Any, dim: Any) -> int:
        shape = self.values[x.name].shape
        if not isinstance(dim, int) or dim % len(shape) != len(shape) - 1:
            raise ActrixError(
                "this policy cannot be written as C: it ranks along another dimension than the last", AS_ONNX
            )
        return int(shape[-1])

    def _native_layer_norm(
        self, node: torch.fx.Node, out: Sequence[Tensor], x: Any, shape: Any, weight: Any, bias: Any, epsilon: float
    ) -> None:
        size, source = math.prod(shape), self.names[x.name]
        name, mean, inverse = (self.declare(f"{node.name}[{k}]", piece) for k, piece in enumerate(out))
        scale = f" * {self.names[weight.name]}[k]" if weight is not None else ""
        shift = f" + {self.names[bias.name]}[k]" if bias is not None else ""
        each, x_k = f"for (int k = 0; k < {size}; k++)", f"{source}[i * {size} + k]"
        self.loop(
            out[0].numel() // size,
            f"{{ double m = 0, s = 0; {each} m += {x_k}; m /= {size};\n"
            f"    {each} s += ({x_k} - m) * ({x_k} - m); s = 1 / sqrt(s / {size} + {epsilon!r});\n"
            f"    {each} {name}[i * {size} + k] = (float)(({x_k} - m) * s){scale}{shift};\n"
            f"    {mean}[i] = m; {inverse}[i] = s; }}",
        )


def promoted(found: Sequence[torch.dtype], otherwise: torch.dtype) -> torch.dtype:
    """The type in which an operation on these is done."""
    if not found:
        return otherwise
    kind = found[0]
    for other in found[1:]:
        kind = torch.promote_types(kind, other)
    return otherwise if otherwise.is_floating_point and not kind.is_floating_point else kind


def contiguous(shape: Sequence[int]) -> list[int]:
    """Strides of a row-major array."""
    return [math.prod(shape[d + 1 :]) for d in range(len(shape))]


def at(i: str, shape: Sequence[int], strides: Sequence[int]) -> str:
    """The offset of element `i` (counted over `shape`) in an array with these strides, as C."""
    terms, own = [], contiguous(shape)
    for n, mine, stride in zip(shape, own, strides):
        if n == 1 or stride == 0:
            continue
        place = i if mine == 1 else f"{i} / {mine}"
        place = place if mine * n >= math.prod(shape) else f"({place}) % {n}"
        terms.append(place if stride == 1 else f"({place}) * {stride}")
    return " + ".join(terms) or "0"


def literal(value: Any, dtype: torch.dtype) -> str:
    """A number in C, exact for its type."""
    if dtype.is_floating_point:
        if math.isnan(value):
            return "NAN"
        if math.isinf(value):
            return "INFINITY" if value > 0 else "-INFINITY"
        text = f"{value:.9g}" if dtype == torch.float32 else f"{value:.17g}"
        text = text if any(mark in text for mark in ".en") else text + ".0"
        return (
            f"({text}{'f' if dtype == torch.float32 else ''})" if value < 0 else text + "f" * (dtype == torch.float32)
        )
    return str(int(value))


def convert(thing: Exportable, about: dict[str, Any]) -> str:
    """The module as C source."""
    examples = tuple(rows[:1] for rows in thing.inputs.values())
    try:
        with quiet(), plain_products(), torch.no_grad():
            program = traced(thing.module, examples).run_decompositions()
    except Exception as error:
        raise ActrixError(
            f"this policy cannot be written as C: {brief(error.__cause__ or error)}",
            "its act(obs, 'mean') must be one graph of tensor operations, without branches on values",
        ) from error
    writer, signature = Writer(), program.graph_signature
    state = {**dict(program.named_parameters()), **dict(program.named_buffers()), **program.constants}
    held = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    parameters, result = [], ""
    given = iter(thing.inputs.items())
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in held:
            if node.users:  # the rest of the learner stays at home
                writer.constant(node.name, state[held[node.name]].detach())
        elif node.op == "placeholder":
            name, example = next(given)
            parameters.append(f"const {TYPES[example.dtype]} {name}[{example[0].numel()}]")
            writer.names[node.name], writer.values[node.name] = name, example[:1]
        elif node.op == "call_function":
            if node.users:
                writer.node(node)
        elif node.op == "output":
            value = node.args[0][-1]
            out, kind = writer.values[value.name], TYPES[writer.values[value.name].dtype]
            parameters.append(f"{kind} {thing.output}[{out.numel()}]")
            writer.loop(out.numel(), f"{thing.output}[i] = {writer.names[value.name]}[i];")
            result = ", ".join(parameters)
    lines, stack = writer.packed()
    if stack > MOST_STACK:
        raise ActrixError(f"this policy cannot be written as C: it would need {stack:,} bytes of stack", AS_ONNX)
    about = {**about, "stack": f"{stack:,} bytes"}
    told = "\n".join(f" * {key}: {json.dumps(text)}" for key, text in about.items() if text is not None)
    told = told.replace("*/", "* /")
    constants, body = "\n".join(writer.constants), "\n".join("  " + line for line in lines)
    return (
        f"/* Written by actrix {actrix.__version__}. C99; link with -lm where the system asks for it.\n{told}\n */\n"
        f"#include <math.h>\n#include <stdint.h>\n\n{constants}\n\nvoid actrix_act({result})\n{{\n{body}\n}}\n"
    )


def compiler() -> str | None:
    """The system's C compiler."""
    return shutil.which(os.environ.get("CC", "cc")) or shutil.which("gcc") or shutil.which("clang")


def execute(source: str, thing: Exportable) -> np.ndarray:
    """What the compiled file gives on all trials."""
    cc = compiler()
    assert cc is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.c"
        path.write_text(source)
        flags = ["-std=c99", "-O2", "-ffp-contract=off", "-shared", "-fPIC"]
        done = subprocess.run(
            [cc, *flags, str(path), "-o", f"{folder}/policy.so", "-lm"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ActrixError(f"{cc} does not compile the C file: {done.stderr.strip()[:500]}", "please report it")
        act = ctypes.CDLL(f"{folder}/policy.so").actrix_act
        act.restype = None
        with torch.no_grad():
            example = thing.module(*(rows[:1] for rows in thing.inputs.values()))
        total = len(next(iter(thing.trials.values())))
        found = np.empty((total, *example.shape[1:]), example.numpy().dtype)
        for i in range(total):
            rows = [np.ascontiguousarray(rows[i]) for rows in thing.trials.values()]
            out = np.empty(example.shape[1:], found.dtype)
            act(*(ctypes.c_void_p(row.ctypes.data) for row in (*rows, out)))
            found[i] = out
    return found


def export(folder: Path | str, out: Path | str) -> dict[str, Any]:
    """Write the newest policy of a run as C; returns file, bytes, checked (inputs; 0 without a compiler) and
    difference (the largest).

    Raises ActrixError, and leaves no file, where the file would not do what the policy does.
    """
    from actrix.run.loaded import load_learner

    out = Path(out)
    learner, regime, config = load_learner(folder)
    try:
        learner = learner.cpu().eval()
        thing = exportable(learner, regime)
    finally:
        regime.close()
    if "obs" not in thing.inputs:
        raise ActrixError(
            "a language policy cannot be written as C", "give --out a name that ends in .onnx", misuse=True
        )
    source = convert(thing, {"system": config["system"], "task": config["env"], **thing.described})
    checked, difference = 0, math.nan
    if compiler() is not None:
        checked, difference = compare([execute(source, thing)], thing, learner)
    write(out, source.encode())
    return {"file": str(out), "bytes": len(source), "checked": checked, "difference": difference}
