"""Multilayer perceptrons by the C kernels: all layers of all members in one call, forward and backward; fp32, on a CPU.

The same as the layers one by one in `actrix.nets.mlp`, up to rounding, and differentiable to any order. In a compiled
graph the two passes are operators of their own. Rows and columns are shared out over torch's threads; the
numbers do not depend on how many.

Suffixes: B rows, I inputs, O outputs, E members.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from actrix.nets.linear import full_precision
from actrix.nets.native import operators

ACTIVATIONS = {"relu": 1, "tanh": 2}  # `enum activation` of perceptron.c
_LEAST_ROWS = 8  # laying out the weights costs as much as the products of a few rows
_WORTH_LEAVING_A_GRAPH = 4_000_000  # multiplications of one member


def serves(x: Tensor, weights: Sequence[Tensor], activation: str) -> bool:
    """Whether the kernels do for these layers and are worth their call: fp32 at full precision, on the CPU; more than
    a few rows; inside a graph, where layers need not be called one by one, large products."""
    if activation not in ACTIVATIONS or x.dim() < 2 or not full_precision(x, weights[0]):
        return False  # said first, since in an export the number of rows is not known
    rows = x.numel() // max(x.shape[-1], 1)
    least = _WORTH_LEAVING_A_GRAPH if torch.compiler.is_compiling() else 0
    return rows >= _LEAST_ROWS and rows * sum(w.shape[-2] * w.shape[-1] for w in weights) >= least and _available()


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # a graph need not look inside
def _available() -> bool:
    return _ready()


def perceptron(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], activation: str) -> Tensor:
    """All layers: x [..., I] -> [..., O] by weights [I, O] and biases [O]; or, of E members, with weights [E, I, O] and
    biases [E, 1, O], x [B, I] or [E, B, I] -> [E, B, O]. The activation is between the layers."""
    members = weights[0].dim() == 3
    lines = x if members else x.flatten(0, -2)
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (lines, *weights, *biases))
    if keep and not torch.compiler.is_compiling():
        out = _Perceptron.apply(lines, activation, *weights, *biases)
    else:
        out, _ = torch.ops.actrix.perceptron(lines, [*weights, *biases], ACTIVATIONS[activation], keep)
    return out if members or x.dim() == 2 else out.unflatten(0, x.shape[:-1])


def plain(x: Tensor, parameters: Sequence[Tensor], activation: str) -> Tensor:
    """The same by PyTorch's own operations."""
    count = len(parameters) // 2
    act = getattr(F, activation)
    for i, (weight, bias) in enumerate(zip(parameters[:count], parameters[count:], strict=True)):
        x = x @ weight + bias if i == 0 else act(x) @ weight + bias
    return x


def _again(grad: Tensor, x: Tensor, parameters: Sequence[Tensor], activation: str, wanted: list[bool]) -> list[Any]:
    """Gradients that have gradients themselves: by PyTorch's own operations, from the beginning."""
    inputs = [t for t, want in zip((x, *parameters), wanted, strict=True) if want]
    with torch.enable_grad():
        found = iter(torch.autograd.grad(plain(x, parameters, activation), inputs, grad, create_graph=True))
    return [next(found) if want else None for want in wanted]


class _Perceptron(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: str, *parameters: Tensor) -> Tensor:
        out, kept = torch.ops.actrix.perceptron(x, parameters, ACTIVATIONS[activation], True)
        ctx.save_for_backward(x, kept, *parameters)
        ctx.activation = activation
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        x, kept, *parameters = ctx.saved_tensors
        to_x, _, *wanted = ctx.needs_input_grad
        if torch.is_grad_enabled():
            found = _again(grad, x, parameters, ctx.activation, [to_x, *wanted])
            return (found[0], None, *found[1:])
        mine, number = any(wanted), ACTIVATIONS[ctx.activation]
        found = torch.ops.actrix.perceptron_slopes_of(grad, x, parameters, kept, number, to_x, mine)
        below = found.pop(0) if to_x else None
        return (below, None, *(found if mine else [None] * len(wanted)))


@cache
def _ready() -> bool:
    """Whether the operators are there; for graphs they get shapes and gradients."""
    if not operators():
        return False

    def forward(x: Tensor, parameters: Sequence[Tensor], activation: int, keep: bool) -> tuple[Tensor, Tensor]:
        count = len(parameters) // 2
        out = x.new_empty(*parameters[0].shape[:-2], x.shape[-2], parameters[count - 1].shape[-1])
        hidden = sum(w.shape[-1] for w in parameters[: count - 1]) * (out.numel() // out.shape[-1])
        return out, x.new_empty(hidden if keep else 0)

    def slopes(
        grad: Tensor, x: Tensor, parameters: Sequence[Tensor], kept: Tensor, activation: int, to_x: bool, to_mine: bool
    ) -> tuple[Tensor, Tensor]:
        count = sum(p.numel() for p in parameters) if to_mine else 0
        return x.new_empty(x.shape if to_x else (0,)), x.new_empty(count)

    def setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, parameters, activation, _ = inputs
        ctx.save_for_backward(x, output[1], *parameters)
        ctx.activation = activation

    def backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Any, ...]:
        x, kept, *parameters = ctx.saved_tensors
        to_x, wanted, *_ = ctx.needs_input_grad
        mine = any(wanted) if isinstance(wanted, Sequence) else bool(wanted)
        below, line = torch.ops.actrix.perceptron_slopes(grad, x, parameters, kept, ctx.activation, to_x, mine)
        found: list[Tensor | None] = [None] * len(parameters)
        if mine:
            parts = line.split([p.numel() for p in parameters])
            found = [part.view(p.shape) for part, p in zip(parts, parameters, strict=True)]
        return below if to_x else None, found, None, None

    torch.library.register_fake("actrix::perceptron", forward)
    torch.library.register_fake("actrix::perceptron_slopes", slopes)
    torch.library.register_autograd("actrix::perceptron", backward, setup_context=setup)
    return True
