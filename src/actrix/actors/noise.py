"""Noise that lasts: exploration that keeps a direction for several steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Held:
    """The noise of N environments, and for how many more steps each keeps it."""

    noise: Tensor  # [N, A]
    left: Tensor  # [N] int64


def zeta(longest: int, exponent: float) -> Tensor:
    """P(n) ~ n^-exponent for n = 1..longest: [longest]. `longest` 1 draws anew at every step."""
    weight = torch.arange(1, longest + 1, dtype=torch.float64) ** -exponent
    return (weight / weight.sum()).float()


def held(memory: Held | None, like: Tensor, chances: Tensor) -> Held:
    """The next step's noise, standard normal, shaped as `like` [N, A].

    An environment whose time is over, and every one at the beginning (None), draws new noise and how long to hold
    it: n steps with probability `chances[n - 1]`. Environments do so independently.
    """
    noise = torch.randn_like(like)
    left = torch.multinomial(chances, len(like), replacement=True) + 1
    if memory is not None:
        over = memory.left == 0
        noise, left = torch.where(over[:, None], noise, memory.noise), torch.where(over, left, memory.left)
    return Held(noise, left - 1)
