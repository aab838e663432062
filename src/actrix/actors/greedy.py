"""Epsilon-greedy actors: the best choice according to a critic, now and then any other (DQN)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actrix.actors.base import Action, Actor
from actrix.actors.categorical import choose, forbid
from actrix.critics.values import DiscreteQ


class EpsilonGreedy(Actor):
    """argmax_a Q(s, a), mean over members; in mode "sample", with probability `epsilon`, any legal choice.

    Epsilon falls on a straight line from `start` to `end` over `updates` calls of `advance`, whose count is a
    buffer: it is saved and resumed with the learner.
    """

    count: Tensor

    def __init__(self, critic: DiscreteQ, start: float, end: float, updates: float) -> None:
        nn.Module.__init__(self)  # it sees through its critic's encoder, and has none of its own
        self.critic = critic
        self.start, self.end, self.updates = start, end, max(updates, 1.0)
        self.register_buffer("count", torch.zeros(()))

    def epsilon(self) -> Tensor:
        """The present probability of exploring: []."""
        return self.start + (self.end - self.start) * (self.count / self.updates).clamp(max=1.0)

    @torch.no_grad()
    def advance(self) -> None:
        """One update has passed."""
        self.count += 1

    def act(self, obs: Tensor, mode: str = "sample", mask: Tensor | None = None) -> Action:
        value = self.critic(obs).reduce("mean")
        action = forbid(value, mask).argmax(-1)
        if mode == "sample":
            any_legal = choose(forbid(torch.zeros_like(value), mask))
            explores = torch.rand(len(value), device=value.device) < self.epsilon()
            action = torch.where(explores, any_legal, action)
        return Action(action[:, None])

    def imitate(self, obs: Tensor, action: Tensor, weight: Tensor | None = None) -> Tensor:
        """Cross-entropy of softmax(Q) towards the choices."""
        error = F.cross_entropy(self.critic(obs).reduce("mean"), action[:, 0], reduction="none")
        return (error if weight is None else error * weight).mean()
