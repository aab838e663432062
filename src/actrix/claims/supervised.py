"""A point that is to come home, and somebody who watches: `env="actrix.claims.supervised:WeakHoming-v0"`.

The supervisor's judgement is good: away from home, farther than `CALM`, they object to a step that leaves the point
farther away, by more than `MARGIN`, than the best one would. Their hand is not: it aims at a place that is `bias` to
the left of home, and of its steps a share `tremor` go anywhere. By return between that of random steps (0) and of
the best (1), the hand is worth 0.4 in WeakHoming-v0, and 0.9 in SteadyHoming-v0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from actrix.claims.worlds import Homing

HOME = torch.tensor([0.6, 0.6])
CALM, MARGIN = 0.4, 0.1  # in units of distance; a step is at most 0.1 along each axis
HANDS = {"Weak": (0.5, 0.6), "Steady": (0.1, 0.1)}  # bias, tremor
RANDOM, BEST = -24.33, -6.97  # mean returns


def score(value: float) -> float:
    """A mean return as a share of the way from random steps to the best."""
    return (value - RANDOM) / (BEST - RANDOM)


def towards(obs: Tensor, place: Tensor) -> Tensor:
    """The action [N, 2] that brings points [N, 2] nearest to a place."""
    return ((place - obs) / 0.1).clamp(-1, 1)


class Supervised(Homing):
    """`Homing` with a supervisor."""

    def __init__(self, bias: float, tremor: float) -> None:
        super().__init__()
        self.aim, self.tremor = HOME - torch.tensor([bias, 0.0]), tremor

    def hand(self, obs: Tensor) -> Tensor:
        """What the supervisor would do [N, 2]."""
        anywhere = torch.rand_like(obs) * 2 - 1
        return torch.where(torch.rand(len(obs), 1) < self.tremor, anywhere, towards(obs, self.aim))

    def supervise(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        after, best = ((obs + 0.1 * a.clamp(-1, 1) - HOME).norm(dim=-1) for a in (action, towards(obs, HOME)))
        return (after > CALM) & (after > best + MARGIN), self.hand(obs)


def player(level: str, rng: np.random.Generator) -> Callable[[Any], Any]:
    """Their hand, for one episode."""
    watcher, generator = Supervised(*HANDS[level]), torch.Generator().manual_seed(int(rng.integers(2**31)))

    def act(obs: Any) -> Any:
        with torch.random.fork_rng([]):
            torch.set_rng_state(generator.get_state())
            action = watcher.hand(torch.from_numpy(np.asarray(obs, np.float32))[None])[0].numpy()
            generator.set_state(torch.get_rng_state())
        return action

    return act


for name, (bias, tremor) in HANDS.items():
    gym.register(
        f"{name}Homing-v0", entry_point="actrix.claims.supervised:Supervised", kwargs={"bias": bias, "tremor": tremor}
    )
