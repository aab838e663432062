"""What all actors share: how they see, and the record of a decision."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor, nn

from actrix.nets.encoder import Encoder
from actrix.spec import Spec


@dataclass(frozen=True)
class Action:
    """A decision for B observations."""

    action: Tensor  # [B, A] canonical
    logp: Tensor | None = None  # [B] log-probability (density in canonical units) of the action; [B, N] of N agents'
    condition: Tensor | None = None  # [B, E] what else was drawn for it, to be replayed (see `Actor.condition`)


class Actor(nn.Module):
    """Base of the actors. `act(obs [B, D], mode, mask) -> Action`; mode "sample" explores, "mean" does not."""

    def __init__(self, spec: Spec, raw: bool = False) -> None:
        super().__init__()
        self.encoder = Encoder(spec, raw=raw)

    def act(self, obs: Tensor, mode: str = "sample", mask: Tensor | None = None) -> Action:
        raise NotImplementedError

    def explore(self, obs: Tensor, mask: Tensor | None = None, memory: Any = None) -> tuple[Action, Any]:
        """As `act` in mode "sample" where each row is the next moment of one environment, with what the actor carries
        from moment to moment (held noise, a recurrent state): `memory` is what the last call returned, None at first.
        """
        return self.act(obs, "sample", mask), memory

    def exploit(self, obs: Tensor, mask: Tensor | None = None, memory: Any = None) -> tuple[Action, Any]:
        """Decide as the policy is judged and used, where each row is the next moment of one episode: in mode "mean",
        unless an actor knows better (one with several modes samples). `memory` as in `explore`; None begins an episode.
        """
        return self.act(obs, "mean", mask), memory

    def plan(self, obs: Tensor, mode: str = "sample", mask: Tensor | None = None) -> Tensor:
        """All that is decided at once: [B, D] -> [B, K, A], K actions in a row of which `act` gives the first. K is 1
        but for an actor that plays chunks."""
        return self.act(obs, mode, mask).action[:, None]

    def forget(self, memory: Any, ended: Tensor) -> Any:
        """`memory` of `explore` or `exploit` after the episodes of some rows, `ended` [N] bool, are over. What is held
        may outlast them (noise), or not (a plan)."""
        return memory

    def condition(self, obs: Tensor) -> Tensor | None:
        """Draw what decisions are made under besides their observations [..., D] (the noise of a random graph):
        [..., E], or None where there is no such thing.

        A policy with a condition is a distribution given it: `act` returns it with the action, whoever stores actions
        stores it too, and `evaluate(obs, action, mask, condition)` is given it again.
        """
        return None

    def log_prob(self, obs: Tensor, action: Tensor) -> Tensor:
        """Log-probability (density) [...] of canonical actions [..., A], by an actor that knows it."""
        raise NotImplementedError

    def imitate(self, obs: Tensor, action: Tensor, weight: Tensor | None = None) -> Tensor:
        """Weighted supervised loss towards `action`; the one kind of improvement every actor supports."""
        logp = self.log_prob(obs, action)
        return -(logp if weight is None else logp * weight).mean()

    def candidates(self, obs: Tensor, count: int, mode: str = "sample") -> Tensor:
        """`count` proposals for every row, in [-1, 1]: [B, D] -> [B, count, A]. Mode "mean" has the same noise at every
        call."""
        raise NotImplementedError


def fixed_uniform(count: int, size: int, like: Tensor) -> Tensor:
    """The same well-spread numbers in (0, 1) at every call: [count, size] of the type and device of `like`.

    The lattice of Roberts' sequence: multiples of 1/g, 1/g^2, ..., g^(size + 1) = g + 1, modulo 1.
    """
    return torch.tensor(_lattice(count, size), dtype=like.dtype, device=like.device)


def fixed_normal(count: int, size: int, like: Tensor) -> Tensor:
    """The quantiles of the standard normal distribution at `fixed_uniform`: [count, size]."""
    quantile = NormalDist().inv_cdf
    rows = [[quantile(u) for u in row] for row in _lattice(count, size)]
    return torch.tensor(rows, dtype=like.dtype, device=like.device)


def _lattice(count: int, size: int) -> list[list[float]]:
    # (numbers and not tensors, so that a graph holds them as they are)
    g = 2.0
    for _ in range(40):
        g = (1.0 + g) ** (1.0 / (size + 1))
    return [[(0.5 + n * g ** -(i + 1)) % 1.0 for i in range(size)] for n in range(1, count + 1)]
