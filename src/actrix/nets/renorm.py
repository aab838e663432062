"""Perceptrons with batch renormalisation, a stack of E computed together: what critics without targets are made of.

Statistics are taken where the caller says `training`: which rows are normalised together belongs to the method, not to
a mode of the module (as in `nets.unit`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from actrix.nets.mlp import StackedLinear

RATIO, SHIFT = 3.0, 5.0  # how far batch statistics may be corrected, in running standard deviations


class BatchRenorm(nn.Module):
    """Normalises each feature of `[E, B, D]`; then a scale and a shift.

    not training   (x - running mean) / running std
    training       (x - m) / s of the batch, brought to the running ones by constants: times clip(s / running std,
                   1/3, 3), plus clip((m - running mean) / running std, -5, 5). In the first `warmup` training passes
                   without that, as batch normalisation. Every training pass moves the running statistics.

    So both modes say the same of rows whose batch is not far from those before. Source: Ioffe 2017, Batch
    Renormalization (1702.03275).
    """

    mean: Tensor
    variance: Tensor
    passes: Tensor

    def __init__(
        self, members: int, size: int, momentum: float = 0.01, warmup: int = 100_000, epsilon: float = 1e-3
    ) -> None:
        super().__init__()
        self.momentum, self.warmup, self.epsilon = momentum, warmup, epsilon
        self.scale = nn.Parameter(torch.ones(members, 1, size))
        self.shift = nn.Parameter(torch.zeros(members, 1, size))
        self.register_buffer("mean", torch.zeros(members, 1, size))
        self.register_buffer("variance", torch.ones(members, 1, size))
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x: Tensor, training: bool = False, frozen: bool = False) -> Tensor:
        scale, shift = (self.scale.detach(), self.shift.detach()) if frozen else (self.scale, self.shift)
        running = (self.variance + self.epsilon).sqrt()
        if not training:
            gain = scale / running
            return torch.addcmul(shift - self.mean * gain, x, gain)
        x = x.float() if x.dtype is torch.bfloat16 else x  # statistics are taken in full precision
        mean = x.mean(1, keepdim=True)
        centred = x - mean
        variance = centred.square().mean(1, keepdim=True)
        std = (variance + self.epsilon).sqrt()
        with torch.no_grad():
            warm = self.passes >= self.warmup
            ratio = torch.where(warm, (std / running).clamp(1 / RATIO, RATIO), 1.0)
            offset = torch.where(warm, ((mean - self.mean) / running).clamp(-SHIFT, SHIFT), 0.0)
            self.mean.lerp_(mean.detach(), self.momentum)
            self.variance.lerp_(variance.detach(), self.momentum)
            self.passes.add_(1)
        return torch.addcmul(torch.addcmul(shift, offset, scale), centred, scale * ratio / std)


class RenormNet(nn.Module):
    """`[B, in] -> [E, B, out]`: normalised inputs, `hidden` layers of linear, relu and normaliser each, a head."""

    def __init__(
        self,
        inputs: int,
        hidden: Sequence[int],
        outputs: int,
        members: int = 2,
        momentum: float = 0.01,
        warmup: int = 100_000,
    ) -> None:
        super().__init__()
        self.members = members
        sizes = [inputs, *hidden]
        self.norms = nn.ModuleList(BatchRenorm(members, size, momentum, warmup) for size in sizes)
        self.layers = nn.ModuleList(StackedLinear(members, i, o) for i, o in zip(sizes, [*hidden, outputs]))

    def forward(self, x: Tensor, training: bool = False, frozen: bool = False) -> Tensor:
        """`training` normalises by the statistics of these rows; `frozen` computes no gradient for the weights."""
        x = self.norms[0](x.expand(self.members, *x.shape), training, frozen)
        for layer, norm in zip(self.layers, self.norms[1:]):
            x = norm(layer(x, relu=True, frozen=frozen), training, frozen)
        return self.layers[-1](x, frozen=frozen)
