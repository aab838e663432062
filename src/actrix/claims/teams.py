"""Teams in a table: joint policies over a Bayesian network in a game of one step, with exact gradients.

pi(a) = prod_n pi_n(a_n | a_P(n)), a softmax of logits for every choice of the parents P(n). Then (2306.01920)

    dJ / d logits_n[a_P, a_n] = pi(a_P) pi_n(a_n | a_P) (Q_n(a_P, a_n) - V_n(a_P)),

where Q_n averages the payoff over everybody else. Many policies from different starts are held and moved at once.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

PARENTS = {
    "complete": lambda agents: tuple(tuple(range(n)) for n in range(agents)),  # each knows all before it
    "empty": lambda agents: ((),) * agents,
}


class TableTeam:
    """R joint policies of agents with C options each; `logits[n]` is [R, C for every parent .., C]."""

    def __init__(
        self, payoff: Tensor, parents: Sequence[Sequence[int]], starts: int, generator: torch.Generator
    ) -> None:
        """payoff: [C] * agents. Parents come before their children. Logits start as N(0, 1)."""
        self.payoff, self.parents, self.options = payoff, parents, payoff.shape[0]
        self.logits = [
            torch.randn(starts, *(self.options,) * (len(known) + 1), dtype=payoff.dtype, generator=generator)
            for known in parents
        ]

    def _aligned(self, table: Tensor, n: int) -> Tensor:
        """A table of agent n's as one that broadcasts against [R, joint actions]."""
        known = (*self.parents[n], n)
        return table.reshape(-1, *(self.options if k in known else 1 for k in range(len(self.parents))))

    def joint(self) -> Tensor:
        """Probabilities of all joint actions: [R, C, .., C]."""
        found = torch.ones(1, dtype=self.payoff.dtype)
        for n, logits in enumerate(self.logits):
            found = found * self._aligned(logits.softmax(-1), n)
        return found

    def value(self) -> Tensor:
        """The expected payoff J: [R]."""
        return (self.joint() * self.payoff).flatten(1).sum(1)

    def gradient(self) -> list[Tensor]:
        """dJ / d logits of every agent, in the shapes of `logits`."""
        earned, found = self.joint() * self.payoff, []
        for n, logits in enumerate(self.logits):
            known = (*self.parents[n], n)
            others = [k + 1 for k in range(len(self.parents)) if k not in known]
            mine = (earned.sum(others) if others else earned).reshape(logits.shape)  # pi(a_P) pi_n Q_n
            found.append(mine - logits.softmax(-1) * mine.sum(-1, keepdim=True))
        return found

    def ascend(self, steps: int, size: float, unit: bool) -> Tensor:
        """Exact gradient ascent in all R; returns J at its end, [R]. unit: every step is of length `size`; otherwise
        it is `size` times the gradient."""
        for _ in range(steps):
            found = self.gradient()
            if unit:
                square = torch.stack([g.flatten(1).square().sum(1) for g in found]).sum(0)
                length = square.sqrt().clamp(min=1e-300)
                found = [g / length.reshape(-1, *(1,) * (g.ndim - 1)) for g in found]
            for logits, g in zip(self.logits, found):
                logits += size * g
        return self.value()
