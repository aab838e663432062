"""Pendulums with somebody who watches: `env="actrix.claims.supervised:WeakPendulum-v1"`.

The supervisor's judgement is exact: they know the optimal value of every torque (by value iteration on a grid), and
object to one that is worse than the best by more than `MARGIN`. Their hand is not: at every step, with chance `tremor`,
they would use any torque instead of the best. On 200 episodes of 200 steps, by return between that of random torques
(0) and of the best (1): WeakPendulum-v1 has a supervisor of 0.4, SteadyPendulum-v1 one of 0.9.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from torch import Tensor

SIDE, TORQUES, DISCOUNT = 101, 15, 0.98
MARGIN = 0.5  # of discounted return
TREMOR = {"Weak": 0.66, "Steady": 0.32}


def moved(angle: Tensor, speed: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Angle, speed and reward after torques of 2 `action`, as in Gymnasium's Pendulum-v1."""
    angle = torch.remainder(angle + torch.pi, 2 * torch.pi) - torch.pi
    reward = -(angle.square() + 0.1 * speed.square() + 0.001 * (2 * action).square())
    speed = (speed + 0.05 * (15 * torch.sin(angle) + 6 * action)).clamp(-8, 8)
    return angle + 0.05 * speed, speed, reward


def read(table: Tensor, angle: Tensor, speed: Tensor) -> Tensor:
    """A table [SIDE angles, SIDE speeds] between its points, linearly; angles go around."""
    a = torch.remainder(angle / (2 * torch.pi), 1.0) * SIDE
    s = ((speed + 8) / 16 * (SIDE - 1)).clamp(0, SIDE - 1 - 1e-4)
    i, j = a.floor().long().clamp(max=SIDE - 1), s.floor().long()
    u, v, k = a - i, s - j, (i + 1) % SIDE
    low, high = torch.lerp(table[i, j], table[i, j + 1], v), torch.lerp(table[k, j], table[k, j + 1], v)
    return torch.lerp(low, high, u)


@cache
def values() -> Tensor:
    """The optimal value of every state on a grid."""
    angle, speed = torch.arange(SIDE) / SIDE * 2 * torch.pi, torch.linspace(-8, 8, SIDE)
    angle, speed, action = torch.meshgrid(angle, speed, torch.linspace(-1, 1, TORQUES), indexing="ij")
    there, fast, reward = moved(angle, speed, action)
    table = torch.zeros(SIDE, SIDE)
    for _ in range(300):
        table = (reward + DISCOUNT * read(table, there, fast)).amax(-1)
    return table


def judged(obs: Tensor, action: Tensor) -> Tensor:
    """Optimal value [N, K] of torques 2 `action` [N, K] in what is seen [N, 3]."""
    angle, speed = torch.atan2(obs[:, 1:2], obs[:, :1]), obs[:, 2:3]
    there, fast, reward = moved(angle.expand_as(action), speed.expand_as(action), action)
    return reward + DISCOUNT * read(values(), there, fast)


class Supervised(PendulumEnv):
    """Pendulum-v1 with a supervisor."""

    def __init__(self, tremor: float) -> None:
        super().__init__()
        self.tremor = tremor

    def best(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """The best torques, canonical [N, 1], and their values [N, 1]."""
        every = torch.linspace(-1, 1, TORQUES).expand(len(obs), -1)
        value, index = judged(obs, every).max(1, keepdim=True)
        return every.gather(1, index), value

    def supervise(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        best, value = self.best(obs)
        objects = (judged(obs, action) < value - MARGIN)[:, 0]
        any_at_all = torch.rand_like(best) * 2 - 1
        return objects, torch.where(torch.rand_like(best) < self.tremor, any_at_all, best)


def hand(tremor: float, rng: np.random.Generator) -> Callable[[Any], Any]:
    """A player for one episode: what the supervisor would do."""
    watcher = Supervised(tremor)

    def act(obs: Any) -> Any:
        best, _ = watcher.best(torch.from_numpy(np.asarray(obs, np.float32))[None])
        trembles = rng.random() < tremor
        return np.array([rng.uniform(-2, 2) if trembles else 2 * float(best)], np.float32)

    return act


for name, tremor in TREMOR.items():
    gym.register(
        f"{name}Pendulum-v1", entry_point="actrix.claims.supervised:Supervised", kwargs={"tremor": tremor},
        max_episode_steps=200,
    )  # fmt: skip
