"""Deterministic actors: one squashed action, explored with Gaussian noise (DDPG, TD3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from actrix.actors.base import Action, Actor
from actrix.nets.mlp import MLP
from actrix.spec import Spec


def smoothed(action: Tensor, std: float, bound: float) -> Tensor:
    """Target policy smoothing: clip(action + clip(e, -bound, bound), -1, 1), e ~ N(0, std). [..., A] -> [..., A].

    Source: Fujimoto et al. 2018 (1802.09477), section 5.3.
    """
    noise = (std * torch.randn_like(action)).clamp(-bound, bound)
    return (action + noise).clamp(-1.0, 1.0)


class Deterministic(Actor):
    """a = tanh(net(s)) in [-1, 1]^A; `act` in mode "sample" adds N(0, noise) and clips.

    noise: a tensor becomes a buffer, which a learner may change as it goes on.
    """

    noise: float | Tensor

    def __init__(
        self, spec: Spec, hidden: Sequence[int], activation: str = "relu", noise: float | Tensor = 0.1
    ) -> None:
        super().__init__(spec)
        self.net = MLP(self.encoder.size, hidden, spec.action_size, activation)
        if isinstance(noise, Tensor):
            self.register_buffer("noise", noise)
        else:
            self.noise = noise

    def forward(self, obs: Tensor) -> Tensor:
        return torch.tanh(self.net(self.encoder(obs)))

    def act(self, obs: Tensor, mode: str = "sample", mask: Tensor | None = None) -> Action:
        action = self(obs)
        if mode == "sample":
            action = (action + self.noise * torch.randn_like(action)).clamp(-1.0, 1.0)
        return Action(action)

    def imitate(self, obs: Tensor, action: Tensor, weight: Tensor | None = None) -> Tensor:
        error = (self(obs) - action).square().sum(-1)
        return (error if weight is None else error * weight).mean()
