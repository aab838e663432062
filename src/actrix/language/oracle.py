"""Who is preferred to whom: `oracle(prompts, first, second) -> probabilities`, order-symmetric and counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from actrix.errors import ActrixError
from actrix.language.tasks.base import Prompt

Judge = Callable[[Prompt, str, str], float]


class PairOracle:
    """P(first > second) for pairs of completions, with P(a > b) + P(b > a) = 1 exactly.

    judge: (prompt, first, second) -> probability in [0, 1]. One that is not symmetric by itself (a model that
    likes what it reads first) is asked in both orders and averaged: `symmetric=False`. `calls` counts its
    answers; a text against itself is a half, and costs none.
    """

    def __init__(self, judge: Judge, symmetric: bool = True) -> None:
        self.judge, self.symmetric = judge, symmetric
        self.calls = 0

    def __call__(self, prompts: Sequence[Prompt], first: Sequence[str], second: Sequence[str]) -> Tensor:
        """[B] float64."""
        return torch.tensor([self.one(*row) for row in zip(prompts, first, second, strict=True)], dtype=torch.float64)

    def one(self, prompt: Prompt, first: str, second: str) -> float:
        if first == second:
            return 0.5
        a, b = sorted((first, second))  # always asked in one order, so that rounding cannot break the symmetry
        chance = self._ask(prompt, a, b)
        if not self.symmetric:
            chance = 0.5 * (chance + 1.0 - self._ask(prompt, b, a))
        return chance if first == a else 1.0 - chance

    def _ask(self, prompt: Prompt, first: str, second: str) -> float:
        self.calls += 1
        chance = float(self.judge(prompt, first, second))
        if not 0.0 <= chance <= 1.0:
            raise ActrixError(
                f"the preference between {first[:40]!r} and {second[:40]!r} is {chance}, no probability",
                "prefer(prompt, first, second) must give a number from 0 to 1",
            )
        return chance

    def matrix(self, prompt: Prompt, answers: Sequence[str]) -> Tensor:
        """P(answer i > answer j) of all pairs: [n, n] float64. Costs n (n - 1) / 2 pairs."""
        n = len(answers)
        out = torch.full((n, n), 0.5, dtype=torch.float64)
        for i in range(n):
            for j in range(i):
                out[i, j] = self.one(prompt, answers[i], answers[j])
                out[j, i] = 1.0 - out[i, j]
        return out
