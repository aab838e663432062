"""An actor that says a sequence of actions of one observation, one after the other, without looking again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from actrix.actors.base import Action, Actor
from actrix.actors.gaussian import squashed
from actrix.nets.gru import GRUCell
from actrix.nets.mlp import MLP, Linear
from actrix.spec import Spec


@dataclass(frozen=True)
class Spoken:
    """The sequences that N environments are playing, which action comes next, and the one before it."""

    actions: Tensor  # [N, J, A]
    at: Tensor  # [N] int64; `interval`: a new one is due
    previous: Tensor  # [N, A]; 0 as an episode begins


class SequenceGaussian(Actor):
    """h_0 = net(s);  h_j = GRU(a_{j-1}, h_{j-1});  a_j = tanh(u_j), u_j ~ N(mean(h_j), std(h_j)), j = 1 ... `length`.

    a_0 is the action before s, 0 at the beginning of an episode. `act` and `plan` decide as at the beginning of one;
    `explore` and `exploit` remember, look at every `interval`-th step, and play the sequence in between.
    """

    def __init__(
        self, spec: Spec, hidden: Sequence[int], length: int, log_std_range: tuple[float, float] = (-20.0, 2.0)
    ) -> None:
        super().__init__(spec)
        *body, size = hidden
        self.net = MLP(self.encoder.size, body, size)
        self.cell = GRUCell(spec.action_size, size)
        self.head = Linear(size, 2 * spec.action_size)
        self.length = self.interval = length
        self.size, self.log_std_range = spec.action_size, log_std_range

    def unroll(self, obs: Tensor, previous: Tensor, count: int, mode: str = "sample") -> tuple[Tensor, Tensor]:
        """`count` actions [B, count, A] after `previous` [B, A], reparameterised, and the log-density of each, given
        those before it [B, count]. In mode "mean" every action is its distribution's mode."""
        h = self.net(self.encoder(obs))
        actions, logps = [], []
        for _ in range(count):
            h = self.cell(previous, h)
            mean, log_std = self.head(h).chunk(2, -1)
            noise = torch.zeros_like(mean) if mode == "mean" else torch.randn_like(mean)
            previous, logp = squashed(mean, log_std.clamp(*self.log_std_range), noise)
            actions.append(previous)
            logps.append(logp)
        return torch.stack(actions, 1), torch.stack(logps, 1)

    def plan(self, obs: Tensor, mode: str = "sample", mask: Tensor | None = None) -> Tensor:
        return self.unroll(obs, self.still(obs), self.length, mode)[0]

    def act(self, obs: Tensor, mode: str = "sample", mask: Tensor | None = None) -> Action:
        action, logp = self.unroll(obs, self.still(obs), 1, mode)
        return Action(action[:, 0], logp[:, 0])

    def still(self, obs: Tensor) -> Tensor:
        """The action before an episode begins: [B, A]."""
        return torch.zeros((obs.shape[0], self.size), device=obs.device)

    def explore(self, obs: Tensor, mask: Tensor | None = None, memory: Any = None) -> tuple[Action, Spoken]:
        return self._play(obs, memory, "sample")

    def exploit(self, obs: Tensor, mask: Tensor | None = None, memory: Any = None) -> tuple[Action, Spoken]:
        return self._play(obs, memory, "mean")

    def _play(self, obs: Tensor, memory: Spoken | None, mode: str) -> tuple[Action, Spoken]:
        interval = min(self.interval, self.length)
        if memory is None:
            at = torch.full((len(obs),), interval, dtype=torch.int64, device=obs.device)
            memory = Spoken(obs.new_zeros(len(obs), self.length, self.size, dtype=torch.float32), at, self.still(obs))
        due = memory.at >= interval
        actions, at = memory.actions, torch.where(due, 0, memory.at)
        if bool(due.any()):
            actions = actions.clone()
            actions[due] = self.unroll(obs[due], memory.previous[due], self.length, mode)[0]
        action = actions[torch.arange(len(obs), device=obs.device), at]
        return Action(action), Spoken(actions, at + 1, action)

    def forget(self, memory: Any, ended: Tensor) -> Spoken | None:
        """What is left of a sequence was meant for the episode that is over, and nothing was done before the next."""
        if memory is None:
            return None
        ended = ended.to(memory.at.device)
        at = torch.where(ended, self.length, memory.at)
        return Spoken(memory.actions, at, torch.where(ended[:, None], 0.0, memory.previous))
