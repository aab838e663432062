"""The entropy temperature of maximum-entropy actors, as a Lagrange multiplier that learns."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Temperature(nn.Module):
    """temperature = exp(log_temperature), pushed up while entropy is below `target_entropy` (nats), else down."""

    def __init__(self, initial: float, target_entropy: float) -> None:
        super().__init__()
        self.log_temperature = nn.Parameter(torch.tensor(math.log(initial)))
        self.target_entropy = target_entropy

    def forward(self) -> Tensor:
        return self.log_temperature.exp()

    def loss(self, logp: Tensor, target_entropy: Tensor | None = None) -> Tensor:
        """-mean log_temperature (logp + target_entropy), logp [B] of fresh actions (SAC v2, eq. 18, log form).

        target_entropy [B]: nats, where it differs from state to state (as with masks); None is the fixed one.
        """
        target = self.target_entropy if target_entropy is None else target_entropy
        return -(self.log_temperature * (logp.detach() + target)).mean()
