"""Random numbers that are a function of (key, counter, column), for many worlds in one tensor step.

Every world has a key of its own, so what it draws does not depend on how many worlds stand beside it, on the device
or on the order of calls, and there is no state to save but key and counter. The hash is splitmix64's finaliser
(Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators") applied twice.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

GOLDEN = -7046029254386353131  # 2^64 divided by the golden ratio, as a signed number
FIRST, SECOND = -4658895280553007687, -7723592293110705685


def mix(x: Tensor) -> Tensor:
    """Scramble 64-bit integers of any shape: every bit of the result depends on every bit of x."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * FIRST  # masks make the shifts logical
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * SECOND
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


def following(key: Tensor) -> Tensor:
    """The keys of the episodes after those with these keys."""
    return mix(key + 1)


def uniform(key: Tensor, counter: Tensor | int, columns: int) -> Tensor:
    """Numbers in [0, 1): float32 [columns, N] for keys [N] (int64) and counters [N] or one for all."""
    # (products of plain numbers are wrapped here: as index arithmetic of a compiler they would overflow)
    row = mix(mix(key) + (wrapped(counter * GOLDEN) if isinstance(counter, int) else counter * GOLDEN))
    steps = [wrapped(i * GOLDEN) for i in range(1, columns + 1)]
    bits = mix(row + torch.tensor(steps, device=key.device)[:, None])
    return ((bits >> 40) & 0xFFFFFF).to(torch.float32) * 2.0**-24


def wrapped(number: int) -> int:
    """As 64 bits with a sign."""
    return (number + 2**63) % 2**64 - 2**63


def normal(key: Tensor, counter: Tensor | int, columns: int) -> Tensor:
    """Standard normal numbers by Box and Muller: float32 [columns, N]."""
    half = (columns + 1) // 2
    first, second = uniform(key, counter, 2 * half).split(half)
    radius, angle = (-2.0 * torch.log1p(-first)).sqrt(), (2.0 * math.pi) * second
    return torch.cat((radius * angle.cos(), radius * angle.sin()))[:columns]
