"""Autoregressive categorical actors: a box action, one number after the other, each as a choice among bins."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from actrix.actors.base import Action, Actor, fixed_uniform
from actrix.errors import ActrixError
from actrix.nets.mlp import MLP
from actrix.spec import Spec


class Autoregressive(Actor):
    """p(a | s) = prod_i p(bin of a_i | s, bins of a_1 .. a_{i-1}), uniform within a bin; actions in [-1, 1]^A.

    Any joint distribution of binned actions can be had: several modes, and numbers that depend on each other. One
    network serves all numbers; it sees the observation, those before as one-hot bins, and which number is asked for.
    Densities are of canonical actions. Mode "mean" takes the likeliest bin of each in turn, and its centre; evaluation
    samples (`exploit`). Sampling has no gradient: there is nothing to be reparameterised.

    Source: Metz et al. 2017, Discrete Sequential Prediction of Continuous Actions (1705.05035), with log-likelihood.
    """

    before: Tensor

    def __init__(self, spec: Spec, hidden: Sequence[int], bins: int = 21, activation: str = "relu") -> None:
        super().__init__(spec)
        if spec.action_kind != "box":
            raise ActrixError(
                f"an autoregressive actor acts in boxes with bounds; these actions are {spec.action_kind}",
                "use another actor",
                misuse=True,
            )
        n = self.size = spec.action_size
        self.bins, self.width = bins, 2.0 / bins
        self.net = MLP(self.encoder.size + n * bins + n, hidden, bins, activation)
        # of number i, the numbers before it are known: [n, n * bins]
        self.register_buffer("before", torch.ones(n, n).tril(-1).repeat_interleave(bins, 1), persistent=False)

    def bin(self, action: Tensor) -> Tensor:
        """Which bin each number [..., A] lies in: [..., A] int64."""
        return ((action + 1.0) / self.width).floor().long().clamp(0, self.bins - 1)

    def place(self, index: Tensor, part: Tensor | float) -> Tensor:
        """Numbers [..., A] at this part of the way through their bins."""
        return (index.to(self.before.dtype) + part) * self.width - 1.0

    def logps(self, obs: Tensor, action: Tensor) -> Tensor:
        """Log-probabilities of the bins of each number, given those of `action` [..., A] before it: [..., A, bins]."""
        known = self._one_hot(self.bin(action)).flatten(-2)[..., None, :] * self.before
        features = self.encoder(obs)[..., None, :].expand(*known.shape[:-1], -1)
        which = torch.eye(self.size, device=known.device, dtype=known.dtype).expand(*known.shape[:-1], -1)
        return F.log_softmax(self.net(torch.cat((features, known, which), -1).flatten(0, -2)), -1).unflatten(
            0, known.shape[:-1]
        )

    def _one_hot(self, index: Tensor) -> Tensor:
        return (index[..., None] == torch.arange(self.bins, device=index.device)).to(self.before.dtype)

    def log_prob(self, obs: Tensor, action: Tensor) -> Tensor:
        """Log-density [...] of actions [..., A]; obs [..., D]."""
        logp = self.logps(obs, action).gather(-1, self.bin(action)[..., None])[..., 0]
        return logp.sum(-1) - self.size * math.log(self.width)

    def _decide(self, obs: Tensor, chance: Tensor | None) -> tuple[Tensor, Tensor]:
        """Bins [B, A] by inversion of the distribution function at chances [B, A] (None: the likeliest), and the
        log-density [B]."""
        features = self.encoder(obs)
        rows = obs.shape[0]  # (which may be free in a graph, as len() may not)
        known = features.new_zeros(rows, self.size, self.bins)
        total = features.new_zeros(rows)
        picks = []
        for i in range(self.size):
            which = torch.eye(self.size, device=known.device, dtype=known.dtype)[i].expand(rows, -1)
            logp = F.log_softmax(self.net(torch.cat((features, known.flatten(1), which), -1)), -1)
            if chance is None:
                pick = logp.argmax(-1)
            else:
                pick = (logp.exp().cumsum(-1) <= chance[:, i, None]).sum(-1).clamp(max=self.bins - 1)
            picks.append(pick)
            total = total + logp.gather(-1, pick[:, None])[:, 0]
            known = torch.cat((known[:, :i], self._one_hot(pick)[:, None], known[:, i + 1 :]), 1)
        return torch.stack(picks, -1), total - self.size * math.log(self.width)

    def sample(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """An action [B, A], without gradient, and its log-density [B]."""
        chance = torch.rand(obs.shape[0], self.size, device=self.before.device, dtype=self.before.dtype)
        index, logp = self._decide(obs, chance)
        return self.place(index, torch.rand_like(chance)), logp

    def act(self, obs: Tensor, mode: str = "sample", mask: Tensor | None = None) -> Action:
        if mode == "mean":
            return Action(self.place(self._decide(obs, None)[0], 0.5))
        return Action(*self.sample(obs))

    def exploit(self, obs: Tensor, mask: Tensor | None = None, memory: Any = None) -> tuple[Action, Any]:
        return self.act(obs, "sample"), memory

    def candidates(self, obs: Tensor, count: int, mode: str = "sample") -> Tensor:
        rows = obs[:, None].expand(-1, count, -1).flatten(0, 1)
        if mode == "mean":
            chance = fixed_uniform(count, self.size, self.before).repeat(obs.shape[0], 1)
            found = self.place(self._decide(rows, chance)[0], 0.5)
        else:
            found = self.sample(rows)[0]
        return found.unflatten(0, (-1, count))
