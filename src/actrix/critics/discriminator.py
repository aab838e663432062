"""A critic that tells what an expert does from what others do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from actrix.nets.encoder import Encoder
from actrix.nets.mlp import MLP
from actrix.spec import Spec


class Discriminator(nn.Module):
    """f(s, a) [B]: the greater, the more it looks like the expert. `bounded` passes it through tanh.

    Rectifiers between the layers, so that the slope of f with respect to what it sees is a product of matrices, which
    is written out: a loss on it needs no gradient of a gradient, and an update with it is one graph.
    """

    def __init__(self, spec: Spec, hidden: Sequence[int], bounded: bool = False) -> None:
        super().__init__()
        self.encoder = Encoder(spec.for_critic())
        self.net = MLP(self.encoder.size + spec.action_size, hidden, 1)
        self.bounded = bounded

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        """obs [B, D], action [B, A] -> [B]."""
        return self._squash(self.net(self.rows(obs, action))[..., 0])

    def rows(self, obs: Tensor, action: Tensor) -> Tensor:
        """What its network sees of them: [B, F]."""
        return torch.cat((self.encoder(obs), action), -1)

    def slope(self, rows: Tensor) -> Tensor:
        """df / drows [B, F], as a function of the weights."""
        *body, head = (layer.held() for layer in self._layers)
        passes = []
        x = rows
        for weight, bias in body:
            x = x @ weight + bias
            passes.append((x > 0).to(x.dtype))
            x = x * passes[-1]
        weight, bias = head
        slope = weight[:, 0].expand(len(rows), -1)
        if self.bounded:
            slope = slope * (1 - torch.tanh(x @ weight + bias).square())
        for (weight, _), passed in zip(reversed(body), reversed(passes)):
            slope = (slope * passed) @ weight.T
        return slope

    def penalty(self, one: Tensor, other: Tensor) -> Tensor:
        """Mean of (|df / drows| - 1)^2 at places drawn evenly between two sets of rows [B, F], which get no gradient.

        Source: Gulrajani et al. 2017 (1704.00028).
        """
        place = torch.rand(len(one), 1, dtype=one.dtype, device=one.device)
        rows = torch.lerp(other.detach(), one.detach(), place)
        length = (self.slope(rows).square().sum(-1) + 1e-12).sqrt()
        return (length - 1).square().mean()

    @property
    def _layers(self) -> Any:
        return self.net.layers

    def _squash(self, x: Tensor) -> Tensor:
        return torch.tanh(x) if self.bounded else x
