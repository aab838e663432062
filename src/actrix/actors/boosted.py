"""An actor that is judged as all that it has been: boosting of policies."""

from __future__ import annotations

import copy
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from actrix.actors.base import Action, Actor
from actrix.data.spans import mixed

A = TypeVar("A", bound=Actor)


class Boosted(Actor, Generic[A]):
    """What `base` was at every call of `keep`, mixed: each episode is played by one of them, in its mode, the newest
    with chance `rate`, and with (1 - rate) one of those before, likewise (`data.spans.mixed`).

    It learns, explores and `act`s as `base`. The past is buffers, which grow.
    """

    base: A

    def __init__(self, base: A, rate: float) -> None:
        nn.Module.__init__(self)  # it sees through its base's encoder, and has none of its own
        self.base, self.rate = base, rate
        # a list hides it from Module: its weights are copies of what is kept
        self._player = [copy.deepcopy(base).requires_grad_(False)]
        for i, p in enumerate(base.parameters()):
            self.register_buffer(f"past_{i}", p.detach()[None][:0].clone())

    def __len__(self) -> int:
        return len(self.get_buffer("past_0"))

    @torch.no_grad()
    def keep(self) -> None:
        """Remember the base as it is now."""
        for i, p in enumerate(self.base.parameters()):
            setattr(self, f"past_{i}", torch.cat((self.get_buffer(f"past_{i}"), p.detach()[None])))

    @torch.no_grad()
    def was(self, number: int) -> A:
        """The base as it was at the call `number` of `keep`, until the next call of this."""
        player = self._player[0].to(next(self.base.parameters()).device)
        for i, p in enumerate(player.parameters()):
            p.copy_(self.get_buffer(f"past_{i}")[number])
        return player

    def draw(self, n: int) -> Tensor:
        """Who plays each of n episodes: [n] int64."""
        return torch.multinomial(torch.tensor(mixed(len(self), self.rate), dtype=torch.float64), n, replacement=True)

    def act(self, obs: Tensor, mode: str = "sample", mask: Tensor | None = None) -> Action:
        return self.base.act(obs, mode, mask)

    def explore(self, obs: Tensor, mask: Tensor | None = None, memory: Any = None) -> tuple[Action, Any]:
        return self.base.explore(obs, mask, memory)

    def exploit(self, obs: Tensor, mask: Tensor | None = None, memory: Any = None) -> tuple[Action, Any]:
        if not len(self):
            return self.base.act(obs, "mean", mask), None
        memory = self.draw(len(obs)) if memory is None else memory
        found: Tensor | None = None
        for number in memory.unique().tolist():
            mine = memory == number
            action = self.was(number).act(obs[mine], "mean", None if mask is None else mask[mine]).action
            found = action.new_empty(len(obs), *action.shape[1:]) if found is None else found
            found[mine] = action
        assert found is not None
        return Action(found), memory

    def forget(self, memory: Any, ended: Tensor) -> Any:
        if not isinstance(memory, Tensor) or not bool(ended.any()):
            return memory
        return torch.where(ended, self.draw(len(ended)), memory)

    def imitate(self, obs: Tensor, action: Tensor, weight: Tensor | None = None) -> Tensor:
        return self.base.imitate(obs, action, weight)
