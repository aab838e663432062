"""Rewards that are a statistic of the returns of an episode so far: the running Sharpe ratio and its relatives.

Each takes the returns of N environments over T steps [N, T] and gives the reward of every step [N, T]; what it
remembers of the episodes under way is its state, as of a normaliser. `ended` [N, T] ends an episode after the step; a
step that is not in the `mask` is no step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

EPSILON = 1e-8


class EpisodeStatistic(nn.Module):
    """Base: a state of K numbers for each environment, which begins each episode as zeros."""

    size: int
    running: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("running", torch.zeros(self.size, 0))

    def follow(self, state: Tensor, value: Tensor, ended: Tensor) -> tuple[Tensor, Tensor]:
        """(state after a step [K, N], its reward [N]) from the state before it and the step's return [N]."""
        raise NotImplementedError

    @torch.no_grad()
    def forward(self, value: Tensor, ended: Tensor, mask: Tensor) -> Tensor:
        if self.running.shape[1] != value.shape[0]:
            self.running = value.new_zeros(self.size, value.shape[0])
        found = torch.zeros_like(value)
        state = self.running
        for t in range(value.shape[1]):
            after, reward = self.follow(state, value[:, t], ended[:, t])
            found[:, t] = torch.where(mask[:, t], reward, 0.0)
            state = torch.where(mask[:, t] & ~ended[:, t], after, torch.where(ended[:, t], 0.0, state))
        self.running = state.clone()
        return found

    def forget(self) -> None:
        """Environments start anew."""
        self.running.zero_()


class RunningSharpe(EpisodeStatistic):
    """sqrt(periods) mean / std of the returns of the episode so far, and 0 in its first `least` - 1 steps.

    The ratio of two normal returns has no mean and no variance; that of `least` returns has, from 4 on. `last` gives it
    at the end of the episode alone. Source: 2412.18563; Sharpe 1966.
    """

    size = 3  # steps, mean, sum of squares about the mean

    def __init__(self, periods: float = 252.0, least: int = 5, last: bool = False) -> None:
        super().__init__()
        self.factor, self.least, self.last = math.sqrt(periods), least, last

    def follow(self, state: Tensor, value: Tensor, ended: Tensor) -> tuple[Tensor, Tensor]:
        count = state[0] + 1
        off = value - state[1]
        mean = state[1] + off / count
        spread = state[2] + off * (value - mean)
        ratio = self.factor * mean / ((spread / count).sqrt() + EPSILON)
        counts = count >= self.least
        if self.last:
            counts = counts & ended
        return torch.stack((count, mean, spread)), torch.where(counts, ratio, 0.0)


class DifferentialSharpe(EpisodeStatistic):
    """What a return adds to an exponential average of the Sharpe ratio, per unit of `rate`, and 0 in the first
    `least` - 1 steps:

        D = (B dA - A dB / 2) / (B - A^2)^(3/2),  dA = r - A,  dB = r^2 - B;  A += rate dA,  B += rate dB

    A and B are divided by 1 - (1 - rate)^t where they are used, which makes them averages from the first step on.
    Source: Moody & Saffell 1998, Reinforcement Learning for Trading.
    """

    size = 3  # steps, A, B

    def __init__(self, rate: float = 0.05, least: int = 5) -> None:
        super().__init__()
        self.rate, self.least = rate, least

    def follow(self, state: Tensor, value: Tensor, ended: Tensor) -> tuple[Tensor, Tensor]:
        count = state[0] + 1
        known = (1 - (1 - self.rate) ** state[0]).clamp(min=EPSILON)
        first, second = state[1] / known, state[2] / known
        variance = (second - first.square()).clamp(min=EPSILON)
        change = (second * (value - first) - 0.5 * first * (value.square() - second)) * variance**-1.5
        after = torch.stack((count, state[1].lerp(value, self.rate), state[2].lerp(value.square(), self.rate)))
        return after, torch.where(count >= self.least, change, 0.0)
