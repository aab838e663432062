"""Multilayer perceptrons by the C kernels: all layers of all members in one call, forward and backward; fp32, on a CPU.

The same as the layers one by one in `actrix.nets.mlp`, up to rounding, and differentiable to any order. In a compiled
graph the two passes are operators of their own. Rows and columns are shared out over torch's threads; the
numbers do not depend on how many.

Suffixes: B rows, I inputs, O outputs, E members.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from actrix.nets.linear import full_precision
from actrix.nets.native import CPerceptron, CSlopes, kernels

ACTIVATIONS = {"relu": 1, "tanh": 2}  # `enum activation` of perceptron.c
_LEAST_ROWS = 8  # laying out the weights costs as much as the products of a few rows
_WORTH_A_THREAD = 1_000_000  # multiplications
_WORTH_LEAVING_A_GRAPH = 4_000_000  # multiplications of one member


def serves(x: Tensor, weights: Sequence[Tensor], activation: str) -> bool:
    """Whether the kernels do for these layers and are worth their call: fp32 at full precision, on the CPU; more than
    a few rows; inside a graph, where layers need not be called one by one, large products."""
    rows = x.numel() // max(x.shape[-1], 1)
    least = _WORTH_LEAVING_A_GRAPH if torch.compiler.is_compiling() else 0
    return (
        activation in ACTIVATIONS
        and x.dim() > 1
        and rows >= _LEAST_ROWS
        and full_precision(x, weights[0])
        and rows * sum(w.shape[-2] * w.shape[-1] for w in weights) >= least
        and _available()
    )


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]  # a graph need not look inside
def _available() -> bool:
    return kernels() is not None


def perceptron(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], activation: str) -> Tensor:
    """All layers: x [..., I] -> [..., O] by weights [I, O] and biases [O]; or, of E members, with weights [E, I, O] and
    biases [E, 1, O], x [B, I] or [E, B, I] -> [E, B, O]. The activation is between the layers."""
    members = weights[0].dim() == 3
    lines = x if members else x.flatten(0, -2)
    keep = torch.is_grad_enabled() and any(t.requires_grad for t in (lines, *weights, *biases))
    if torch.compiler.is_compiling():
        out, _ = torch.ops.actrix.perceptron(lines, [*weights, *biases], activation, keep)
    elif keep:
        out = _Perceptron.apply(lines, activation, *weights, *biases)
    else:
        out, _ = _forward(lines, [*weights, *biases], activation, False)
    return out if members or x.dim() == 2 else out.unflatten(0, x.shape[:-1])


def plain(x: Tensor, parameters: Sequence[Tensor], activation: str) -> Tensor:
    """The same by PyTorch's own operations."""
    count = len(parameters) // 2
    act = getattr(F, activation)
    for i, (weight, bias) in enumerate(zip(parameters[:count], parameters[count:], strict=True)):
        x = x @ weight + bias if i == 0 else act(x) @ weight + bias
    return x


class _Plan:
    """What the kernels are told of some layers and a number of rows: the same at every call with these parameters."""

    def __init__(self, x: Tensor, activation: str, parameters: Sequence[Tensor], places: Sequence[int]) -> None:
        self.layers, self.activation = len(parameters) // 2, ACTIVATIONS[activation]
        self.rows = rows = x.shape[-2]
        self.shared = x.dim() == 2
        first = parameters[0]
        self.stacked = first.dim() == 3
        self.members = first.shape[0] if self.stacked else 1
        sizes = [first.shape[-2], *(w.shape[-1] for w in parameters[: self.layers])]
        self.out_shape = (*((self.members,) if self.stacked else ()), rows, sizes[-1])
        # where each hidden layer begins in what is kept of them, in bytes; and where it ends
        *self.edges, end = accumulate((4 * self.members * rows * size for size in sizes[1:-1]), initial=0)
        self.kept = end // 4
        self.macs = self.members * rows * sum(i * o for i, o in pairwise(sizes))
        self.arrays = (
            (ctypes.c_int64 * len(sizes))(*sizes), _pointers(places[: self.layers]), _pointers(places[self.layers :])
        )  # fmt: skip
        self.told = [ctypes.addressof(array) for array in self.arrays]

    def call(self, x: Tensor, kept: Tensor | None, out: Tensor | None, to: CSlopes | None) -> None:
        """Forward into `out`, the hidden layers into `kept` if given; or back, from `kept` into what `to` says."""
        native = kernels()
        assert native is not None
        threads = max(1, min(torch.get_num_threads(), self.macs // _WORTH_A_THREAD))
        start = None if kept is None else kept.data_ptr()
        hidden = (None if start is None else start + edge for edge in self.edges)
        unit = _pointers((x.data_ptr(), *hidden, None if out is None else out.data_ptr()))
        net = CPerceptron(
            self.members, self.rows, self.layers, self.activation, self.shared, *self.told, ctypes.addressof(unit)
        )
        work = torch.empty(native.perceptron_room(net, to is not None, threads))
        if to is None:
            native.perceptron(net, work.data_ptr(), threads)
        else:
            native.perceptron_back(net, to, work.data_ptr(), threads)


_plans: dict[tuple[Any, ...], _Plan] = {}
_MOST_PLANS = 1_000


def _plan(x: Tensor, parameters: Sequence[Tensor], activation: str) -> _Plan:
    places = [p.data_ptr() for p in parameters]
    key = (x.shape, activation, *places, *(p.shape for p in parameters))
    plan = _plans.get(key)
    if plan is None:
        if len(_plans) >= _MOST_PLANS:
            _plans.clear()
        plan = _plans[key] = _Plan(x, activation, parameters, places)
    return plan


def _pointers(addresses: Sequence[int | None]) -> Any:
    return (ctypes.c_void_p * len(addresses))(*addresses)


def _forward(x: Tensor, parameters: Sequence[Tensor], activation: str, keep: bool) -> tuple[Tensor, Tensor]:
    """The output, and the hidden layers one after the other, which the way back needs; empty unless it is to `keep`."""
    x, parameters = x.contiguous(), [p.contiguous() for p in parameters]
    plan = _plan(x, parameters, activation)
    out, kept = torch.empty(plan.out_shape), torch.empty(plan.kept if keep else 0)
    plan.call(x, kept if keep else None, out, None)
    return out, kept


def _backward(
    grad: Tensor, x: Tensor, parameters: Sequence[Tensor], kept: Tensor, activation: str, below: Tensor | None,
    places: Sequence[int],
) -> None:  # fmt: skip
    """The gradient of x into `below`, and those of the parameters to these addresses, if there are any."""
    x, grad, parameters = x.contiguous(), grad.contiguous(), [p.contiguous() for p in parameters]
    plan = _plan(x, parameters, activation)
    to_weight, to_bias = _pointers(places[: plan.layers]), _pointers(places[plan.layers :])
    arrays = (ctypes.addressof(to_weight), ctypes.addressof(to_bias)) if places else (None, None)
    plan.call(x, kept, None, CSlopes(grad.data_ptr(), None if below is None else below.data_ptr(), *arrays))


def _again(grad: Tensor, x: Tensor, parameters: Sequence[Tensor], activation: str, wanted: list[bool]) -> list[Any]:
    """Gradients that have gradients themselves: by PyTorch's own operations, from the beginning."""
    inputs = [t for t, want in zip((x, *parameters), wanted, strict=True) if want]
    with torch.enable_grad():
        found = iter(torch.autograd.grad(plain(x, parameters, activation), inputs, grad, create_graph=True))
    return [next(found) if want else None for want in wanted]


class _Perceptron(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, activation: str, *parameters: Tensor) -> Tensor:
        out, kept = _forward(x, parameters, activation, True)
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
        below = torch.empty(x.shape) if to_x else None
        mine = [torch.empty(p.shape) for p in parameters] if any(wanted) else []
        _backward(grad, x, parameters, kept, ctx.activation, below, [g.data_ptr() for g in mine])
        return (below, None, *(mine if mine else [None] * len(wanted)))


_LIB = torch.library.Library("actrix", "FRAGMENT")
_LIB.define("perceptron(Tensor x, Tensor[] parameters, str activation, bool keep) -> (Tensor, Tensor)")
_LIB.define(
    "perceptron_back(Tensor grad, Tensor x, Tensor[] parameters, Tensor kept, str activation, bool to_x, bool to_mine)"
    " -> (Tensor, Tensor)"
)


def _backward_cpu(
    grad: Tensor, x: Tensor, parameters: Sequence[Tensor], kept: Tensor, activation: str, to_x: bool, to_mine: bool
) -> tuple[Tensor, Tensor]:
    """The gradient of x, and those of the parameters one after the other; empty where it is not wanted."""
    sizes = [p.numel() for p in parameters] if to_mine else []
    below, mine = torch.empty(x.shape if to_x else 0), torch.empty(sum(sizes))
    places = [*accumulate((4 * size for size in sizes[:-1]), initial=mine.data_ptr())] if to_mine else []
    _backward(grad, x, parameters, kept, activation, below if to_x else None, places)
    return below, mine


def _forward_fake(x: Tensor, parameters: Sequence[Tensor], activation: str, keep: bool) -> tuple[Tensor, Tensor]:
    count = len(parameters) // 2
    out = x.new_empty(*parameters[0].shape[:-2], x.shape[-2], parameters[count - 1].shape[-1])
    hidden = sum(w.shape[-1] for w in parameters[: count - 1]) * (out.numel() // out.shape[-1])
    return out, x.new_empty(hidden if keep else 0)


def _backward_fake(
    grad: Tensor, x: Tensor, parameters: Sequence[Tensor], kept: Tensor, activation: str, to_x: bool, to_mine: bool
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape if to_x else (0,)), x.new_empty(sum(p.numel() for p in parameters) if to_mine else 0)


def _setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    x, parameters, activation, _ = inputs
    ctx.save_for_backward(x, output[1], *parameters)
    ctx.activation = activation


def _graph_backward(ctx: Any, grad: Tensor, _: Any) -> tuple[Any, ...]:
    x, kept, *parameters = ctx.saved_tensors
    to_x, wanted, *_ = ctx.needs_input_grad
    needs = any(wanted) if isinstance(wanted, Sequence) else bool(wanted)
    below, mine = torch.ops.actrix.perceptron_back(grad, x, parameters, kept, ctx.activation, to_x, needs)
    shapes = [p.shape for p in parameters]
    apart = [g.view(shape) for g, shape in zip(mine.split([s.numel() for s in shapes]), shapes)] if needs else None
    return below if to_x else None, apart or [None] * len(parameters), None, None


_LIB.impl("perceptron", _forward, "CPU")
_LIB.impl("perceptron_back", _backward_cpu, "CPU")
torch.library.register_fake("actrix::perceptron", _forward_fake, lib=_LIB)
torch.library.register_fake("actrix::perceptron_back", _backward_fake, lib=_LIB)
torch.library.register_autograd("actrix::perceptron", _graph_backward, setup_context=_setup, lib=_LIB)
