"""Multilayer perceptrons, one or a stack of E that run as batched matrix products."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actrix.errors import ActrixError
from actrix.nets import native_mlp
from actrix.nets.linear import linear, stacked_linear

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "tanh": torch.tanh,
    "gelu": F.gelu,
    "silu": F.silu,
    "elu": F.elu,
}


Which = slice | Tensor
"""Some of a stack's members: a slice of them, or their numbers, int64"""


class Linear(nn.Module):
    """`[..., in] -> [..., out]`. `gain` None keeps torch's default (uniform, Kaiming 2015 with a = sqrt 5);
    a number gives an orthogonal weight of that gain and a zero bias (Saxe et al. 2014)."""

    def __init__(self, inputs: int, outputs: int, gain: float | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        initialise(self.weight.T, self.bias, inputs, gain)

    def held(self, frozen: bool = False, which: Which | None = None) -> tuple[Tensor, Tensor]:
        """Weight and bias; `frozen` without gradients."""
        return (self.weight.detach(), self.bias.detach()) if frozen else (self.weight, self.bias)

    def forward(self, x: Tensor, relu: bool = False, frozen: bool = False) -> Tensor:
        return linear(x, *self.held(frozen), relu=relu)


class StackedLinear(nn.Module):
    """E linear maps at once: `[B, in]` (shared by all) or `[E, B, in] -> [E, B, out]`."""

    def __init__(self, members: int, inputs: int, outputs: int, gain: float | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(members, inputs, outputs))
        self.bias = nn.Parameter(torch.empty(members, 1, outputs))
        for member in range(members):
            initialise(self.weight[member].T, self.bias[member, 0], inputs, gain)

    def held(self, frozen: bool = False, which: Which | None = None) -> tuple[Tensor, Tensor]:
        """Weights and biases; `frozen` without gradients. `which`: only these of the members."""
        weight, bias = (self.weight.detach(), self.bias.detach()) if frozen else (self.weight, self.bias)
        return (weight, bias) if which is None else (weight[which], bias[which])

    def forward(self, x: Tensor, relu: bool = False, frozen: bool = False, which: Which | None = None) -> Tensor:
        return stacked_linear(x, *self.held(frozen, which), relu=relu)


@torch.no_grad()
def initialise(weight: Tensor, bias: Tensor, inputs: int, gain: float | None) -> None:
    """Fill a weight `[out, in]` and its bias in place; see `Linear` for `gain`."""
    if gain is None:
        bound = 1 / math.sqrt(max(inputs, 1))
        weight.uniform_(-bound, bound)
        bias.uniform_(-bound, bound)
    else:
        value = torch.empty(weight.shape)
        nn.init.orthogonal_(value, gain)
        weight.copy_(value)
        bias.zero_()


class MLP(nn.Module):
    """`[B, in] -> [B, out]` through `hidden` layers. With `members`, E of them at once: `-> [E, B, out]`.

    `orthogonal`: hidden gains sqrt(2) and `head_gain` on the last layer, as PPO wants; otherwise torch's default.
    `dropout`: chance that an output of a hidden layer is dropped, before its norm and activation, in calls that say
    `training`; whether the module is in training mode does not matter, so that who acts and who learns can share it.
    """

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        outputs: int,
        activation: str = "relu",
        members: int | None = None,
        orthogonal: bool = False,
        head_gain: float = 1.0,
        layer_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ActrixError(f"--dropout must be at least 0 and below 1, not {dropout}", misuse=True)
        sizes = [inputs, *hidden, outputs]
        gains = [math.sqrt(2.0)] * len(hidden) + [head_gain] if orthogonal else [None] * (len(hidden) + 1)
        shapes = list(zip(sizes[:-1], sizes[1:], gains))
        if members is None:
            self.layers = nn.ModuleList(Linear(i, o, g) for i, o, g in shapes)
        else:
            self.layers = nn.ModuleList(StackedLinear(members, i, o, g) for i, o, g in shapes)
        self.norms = nn.ModuleList(nn.LayerNorm(h) for h in hidden) if layer_norm else None
        self.activation = activation
        self.act = ACTIVATIONS[activation]
        self.dropout = dropout

    def forward(self, x: Tensor, frozen: bool = False, which: Which | None = None, training: bool = False) -> Tensor:
        """`frozen` computes no gradient for the layers' weights, only for x. `which`: only these of the members.
        `training`: with dropout."""
        layers: list[Any] = list(self.layers)
        dropping = training and self.dropout > 0
        if self.norms is None and not dropping:
            weights, biases = zip(*(layer.held(frozen, which) for layer in layers))
            if native_mlp.serves(x, weights, self.activation):
                return native_mlp.perceptron(x, weights, biases, self.activation)
        if which is not None:
            layers = [partial(layer, which=which) for layer in layers]
        *body, head = layers
        for i, layer in enumerate(body):
            if self.norms is not None or dropping:
                x = layer(x, frozen=frozen)
                x = F.dropout(x, self.dropout) if dropping else x
                x = self.act(x if self.norms is None else self.norms[i](x))
            elif self.activation == "relu":
                x = layer(x, relu=True, frozen=frozen)  # one kernel, where there is one
            else:
                x = self.act(layer(x, frozen=frozen))
        return head(x, frozen=frozen)
