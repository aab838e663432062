"""A mixture of squashed Gaussians: several ways to act in one state, and a router that says how often each is taken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from actrix.actors.base import Action, Actor
from actrix.actors.categorical import choose
from actrix.actors.gaussian import gaussian_logp, squash_correction
from actrix.errors import ActrixError
from actrix.nets.mlp import MLP
from actrix.spec import Spec


def component(each: Tensor, index: Tensor) -> Tensor:
    """What one component says, row by row: [B, K, ...], index [B] -> [B, ...]."""
    at = index.reshape(-1, 1, *[1] * (each.ndim - 2)).expand(-1, 1, *each.shape[2:])
    return each.gather(1, at)[:, 0]


def mixed(weights: Tensor, mean: Tensor, log_std: Tensor, u: Tensor) -> Tensor:
    """Log-density [B] of tanh(u), u [B, A], under a mixture: log-weights [B, K], mean and log_std [B, K, A]."""
    logp = gaussian_logp((u[:, None] - mean) * (-log_std).exp(), log_std)
    return (weights + logp).logsumexp(-1) - squash_correction(u)


class SquashedMixture(Actor):
    """a = tanh(u), u ~ N(mean_k(s), std_k(s)), k ~ w(s): K components of one network, and a router of its own.

    Densities are of the canonical action in (-1, 1)^A. `act` in mode "mean" is the mean of the component with the
    greatest weight; evaluation (`exploit`) draws the component and plays its mean, as the mean of all of them may lie
    where none of them acts.
    """

    def __init__(
        self,
        spec: Spec,
        hidden: Sequence[int],
        components: int = 4,
        router: Sequence[int] = (),
        activation: str = "relu",
        log_std_range: tuple[float, float] = (-20.0, 2.0),
    ) -> None:
        """router: units of its hidden layers; none is one linear map of the observation."""
        super().__init__(spec)
        if components < 1:
            raise ActrixError(f"--components must be at least 1, not {components}", misuse=True)
        self.shape = (components, 2 * spec.action_size)
        self.net = MLP(self.encoder.size, hidden, components * 2 * spec.action_size, activation)
        self.router = MLP(self.encoder.size, router, components, activation)
        self.log_std_range = log_std_range

    def parts(self, obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-weights [B, K], means and log standard deviations before squashing [B, K, A]."""
        x = self.encoder(obs)
        mean, log_std = self.net(x).unflatten(-1, self.shape).chunk(2, -1)
        return F.log_softmax(self.router(x), -1), mean, log_std.clamp(*self.log_std_range)

    def each(self, obs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-weights [B, K]; of every component a reparameterised action [B, K, A] and its log-density under that
        component alone [B, K]."""
        weights, mean, log_std = self.parts(obs)
        noise = torch.randn_like(mean)
        u = mean + log_std.exp() * noise
        return weights, torch.tanh(u), gaussian_logp(noise, log_std) - squash_correction(u)

    def sample(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """The action [B, A] of a component drawn by the router, and its log-density under that component alone [B].

        It is reparameterised but for the draw, which has no gradient."""
        weights, action, logp = self.each(obs)
        index = choose(weights.detach())
        return component(action, index), component(logp, index)

    def log_prob(self, obs: Tensor, action: Tensor) -> Tensor:
        """Log-density of the whole mixture [B]; actions are pulled inside (-1, 1) by 1e-6 to invert tanh."""
        return mixed(*self.parts(obs), torch.atanh(action.clamp(-1 + 1e-6, 1 - 1e-6)))

    def act(self, obs: Tensor, mode: str = "sample", mask: Tensor | None = None) -> Action:
        weights, mean, log_std = self.parts(obs)
        if mode == "mean":
            return Action(torch.tanh(component(mean, weights.argmax(-1))))
        index = choose(weights)
        u = component(mean, index) + component(log_std, index).exp() * torch.randn_like(mean[:, 0])
        return Action(torch.tanh(u), mixed(weights, mean, log_std, u))

    def exploit(self, obs: Tensor, mask: Tensor | None = None, memory: Any = None) -> tuple[Action, Any]:
        weights, mean, _ = self.parts(obs)
        return Action(torch.tanh(component(mean, choose(weights)))), memory
