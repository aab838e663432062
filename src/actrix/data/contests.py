"""Preferences between trajectories: a queue of recent ones, and how many of them a new one beats."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from actrix.errors import ActrixError


def worth(reward: Tensor, mask: Tensor, kind: str) -> Tensor:
    """What a judge sees of trajectories: [N, T] rewards, which nobody else sees -> [N], float64.

    return   their sums
    peak     the largest of a step (what no reward of single steps can say, if they are added up)
    """
    reward = reward.double()
    if kind == "return":
        return torch.where(mask, reward, 0.0).sum(1)
    if kind == "peak":
        return torch.where(mask, reward, -torch.inf).amax(1)
    raise ActrixError(f"--prefers is return or peak, not {kind!r}", misuse=True)


def above(first: Tensor, second: Tensor) -> Tensor:
    """Who is worth more wins: 1, 0, or a half where they are worth the same. Broadcasts."""
    return 0.5 + 0.5 * (first - second).sign()


class Contest:
    """Win rates of trajectories among the latest `size` others.

    A trajectory is a row [K] of what the judge sees; judge: (rows [..., K], rows [..., K]) -> P(first wins) in [0, 1],
    with P(a, b) + P(b, a) = 1. A share `noise` of the answers is turned round. `asked` counts answers.
    """

    def __init__(self, size: int, judge: Callable[[Tensor, Tensor], Tensor] = above, noise: float = 0.0) -> None:
        if size < 1:
            raise ActrixError(f"--queue must be at least 1, not {size}", misuse=True)
        if not 0 <= noise <= 0.5:
            raise ActrixError(f"--noise must be from 0 to 0.5, not {noise}", misuse=True)
        self.size, self.judge, self.noise = size, judge, noise
        self.queue = torch.empty(0, dtype=torch.float64)
        self.asked = 0

    def enter(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """Win rates [N] of new trajectories; a half, where there is nobody to meet."""
        wins, meets = self.compare(rows, generator)
        count = meets.sum(1)
        return torch.where(count > 0, (wins * meets).sum(1) / count.clamp(min=1), 0.5)

    def compare(self, rows: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """New trajectories against the queue [Q] and each other: (P(wins), whether they meet), both [N, Q + N].

        They come into the queue together, the last of them as the latest. Each meets the `size` latest of all others,
        new ones included; never itself.
        """
        before = len(self.queue)
        pool = torch.cat((self.queue.reshape(before, *rows.shape[1:]), rows.double()))
        age = torch.arange(len(pool)).flip(0)  # 0: the latest
        mine = age[before:, None]
        meets = (age < self.size + (mine < self.size).long()) & (age != mine)
        wins = self.judge(pool[before:, None], pool[None])
        wins = torch.where(torch.rand(wins.shape, generator=generator) < self.noise, 1 - wins, wins)
        self.asked += int(meets.sum())
        self.queue = pool[-self.size :]
        return wins, meets

    def state(self) -> dict[str, Any]:
        return {"queue": self.queue.tolist(), "asked": self.asked}

    def load(self, state: dict[str, Any]) -> None:
        self.queue, self.asked = torch.tensor(state["queue"], dtype=torch.float64), int(state["asked"])
