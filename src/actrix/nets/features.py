"""Functions that are linear in fixed features of an observation."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from actrix.nets.encoder import Encoder
from actrix.spec import Spec


class Features(nn.Module):
    """Rows [..., D] to features [..., size], the last of which is 1.

    With a `count`, cosines of random frequencies (Rahimi and Recht 2007): sqrt(2 / count) cos(w . x + b), w normal with
    standard deviation 1 / length, b uniform, whose inner products are about exp(-|x - y|^2 / (2 length^2)). Otherwise
    the observation itself.
    """

    frequency: Tensor
    phase: Tensor

    def __init__(self, spec: Spec, count: int, length: float = 1.0) -> None:
        super().__init__()
        self.encoder = Encoder(spec)
        self.count, self.size = count, (count or self.encoder.size) + 1
        self.register_buffer("frequency", torch.randn(self.encoder.size, count) / length)
        self.register_buffer("phase", torch.rand(count) * 2 * math.pi)

    def forward(self, rows: Tensor) -> Tensor:
        x = self.encoder(rows)
        if self.count:
            x = math.sqrt(2 / self.count) * torch.cos(x @ self.frequency + self.phase)
        return torch.cat((x, torch.ones_like(x[..., :1])), -1)


class LinearNet(nn.Module):
    """Rows [..., D] to outputs [..., O], a linear function of `features`. All weights begin at 0."""

    def __init__(self, features: Features, outputs: int) -> None:
        super().__init__()
        self.features = features
        self.weight = nn.Parameter(torch.zeros(features.size, outputs))

    def forward(self, rows: Tensor) -> Tensor:
        return self.features(rows) @ self.weight
