"""Gaussian actors for boxes: squashed (SAC) and plain (PPO)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actrix.actors.base import Action, Actor, fixed_normal
from actrix.actors.noise import held, zeta
from actrix.nets.mlp import MLP
from actrix.nets.unit import UnitNet
from actrix.spec import Spec

HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


def gaussian_logp(noise: Tensor, log_std: Tensor) -> Tensor:
    """log N(mean + std * noise; mean, std) summed over actions: [..., A] -> [...]."""
    return -(0.5 * noise.square() + log_std + HALF_LOG_TAU).sum(-1)


def squash_correction(u: Tensor) -> Tensor:
    """sum_i log(1 - tanh(u_i)^2), stable for any u: [..., A] -> [...] (SAC v2, appendix C)."""
    return (2.0 * (math.log(2.0) - u - F.softplus(-2.0 * u))).sum(-1)


def before_squashing(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """u = mean + std * noise [B, A], and the log-density [B] of tanh(u) for noise ~ N(0, 1)."""
    u = mean + log_std.exp() * noise
    return u, gaussian_logp(noise, log_std) - squash_correction(u)


def squashed(mean: Tensor, log_std: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """a = tanh(mean + std * noise) [B, A] and its log-density [B] for noise ~ N(0, 1)."""
    u, logp = before_squashing(mean, log_std, noise)
    return torch.tanh(u), logp


class SquashedGaussian(Actor):
    """a = tanh(u), u ~ N(mean(s), std(s)); densities are of the canonical action in (-1, 1)^A."""

    net: nn.Module

    def __init__(
        self,
        spec: Spec,
        hidden: Sequence[int],
        activation: str = "relu",
        log_std_range: tuple[float, float] = (-20.0, 2.0),
    ) -> None:
        super().__init__(spec)
        self.net = MLP(self.encoder.size, hidden, 2 * spec.action_size, activation)
        self.log_std_range = log_std_range

    def distribution(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation before squashing, both [B, A]."""
        mean, log_std = self.net(self.encoder(obs)).chunk(2, -1)
        return mean, log_std.clamp(*self.log_std_range)

    def sample(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Reparameterised action [B, A] and its log-density [B]."""
        mean, log_std = self.distribution(obs)
        return squashed(mean, log_std, torch.randn_like(mean))

    def draw(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """u [B, A], reparameterised, of which tanh(u) is the action, and the action's log-density [B]."""
        mean, log_std = self.distribution(obs)
        return before_squashing(mean, log_std, torch.randn_like(mean))

    def log_prob_before(self, obs: Tensor, u: Tensor) -> Tensor:
        """Log-density [B] of actions that are given as tanh(u), without the loss of digits of going back from there."""
        mean, log_std = self.distribution(obs)
        return gaussian_logp((u - mean) * (-log_std).exp(), log_std) - squash_correction(u)

    def log_prob(self, obs: Tensor, action: Tensor) -> Tensor:
        """Log-density [B] of canonical actions; they are pulled inside (-1, 1) by 1e-6 to invert tanh."""
        mean, log_std = self.distribution(obs)
        u = torch.atanh(action.clamp(-1 + 1e-6, 1 - 1e-6))
        return gaussian_logp((u - mean) * (-log_std).exp(), log_std) - squash_correction(u)

    def act(self, obs: Tensor, mode: str = "sample", mask: Tensor | None = None) -> Action:
        if mode == "mean":
            return Action(torch.tanh(self.distribution(obs)[0]))
        return Action(*self.sample(obs))


class TwoModeGaussian(SquashedGaussian):
    """A squashed Gaussian on a network that is another one while it learns (`training`) than while it acts."""

    def distribution(self, obs: Tensor, training: bool = False) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def sample(self, obs: Tensor, training: bool = False) -> tuple[Tensor, Tensor]:
        mean, log_std = self.distribution(obs, training)
        return squashed(mean, log_std, torch.randn_like(mean))


class SoftGaussian(TwoModeGaussian):
    """A squashed Gaussian with std = softplus(max(raw, raw_low)), not bounded above, normalised layers, and dropout in
    calls that say `training` (see `MLP`).

    `act` in mode "mean" is the mean of the squashed action, not the squashed mean: of 2 `pairs` actions, whose noise is
    spread evenly, is the same at every call, and comes with both signs.
    """

    def __init__(
        self, spec: Spec, hidden: Sequence[int], dropout: float = 0.0, raw_low: float = -5.0, pairs: int = 5
    ) -> None:
        Actor.__init__(self, spec)
        self.net = MLP(self.encoder.size, hidden, 2 * spec.action_size, layer_norm=True, dropout=dropout)
        self.raw_low, self.pairs = raw_low, pairs

    def distribution(self, obs: Tensor, training: bool = False) -> tuple[Tensor, Tensor]:
        mean, raw = self.net(self.encoder(obs), training=training).chunk(2, -1)
        return mean, F.softplus(raw.clamp(min=self.raw_low)).log()

    def act(self, obs: Tensor, mode: str = "sample", mask: Tensor | None = None) -> Action:
        if mode != "mean":
            return Action(*self.sample(obs))
        mean, log_std = (x[:, None] for x in self.distribution(obs))
        noise = log_std.exp() * fixed_normal(self.pairs, mean.shape[-1], mean)
        return Action(0.5 * (torch.tanh(mean + noise) + torch.tanh(mean - noise)).mean(1))


class UnitGaussian(TwoModeGaussian):
    """A squashed Gaussian on a network of unit norm (`nets.unit`), whose noise is held for a while in exploration.

    `training` normalises by the statistics of the rows given. log std = low + (high - low) (1 + tanh(raw)) / 2.
    Exploring, each environment keeps its noise for n steps, P(n) ~ n^-exponent for n = 1..hold (`actors.noise`).
    """

    chances: Tensor

    def __init__(
        self,
        spec: Spec,
        width: int,
        blocks: int,
        log_std_range: tuple[float, float] = (-10.0, 2.0),
        hold: int = 16,
        exponent: float = 2.0,
    ) -> None:
        Actor.__init__(self, spec)
        self.net = UnitNet(self.encoder.size, width, blocks, 2 * spec.action_size)
        self.log_std_range = log_std_range
        self.register_buffer("chances", zeta(hold, exponent), persistent=False)

    def distribution(self, obs: Tensor, training: bool = False) -> tuple[Tensor, Tensor]:
        mean, raw = self.net(self.encoder(obs), training)[0].chunk(2, -1)
        low, high = self.log_std_range
        return mean, low + 0.5 * (high - low) * (1 + torch.tanh(raw))

    def explore(self, obs: Tensor, mask: Tensor | None = None, memory: Any = None) -> tuple[Action, Any]:
        mean, log_std = self.distribution(obs)
        memory = held(memory, mean, self.chances)
        return Action(*squashed(mean, log_std, memory.noise)), memory


class Gaussian(Actor):
    """a ~ N(mean(s), std), unbounded; std is one learned number per action, not a function of s (PPO).

    `bounded` keeps the mean in (-1, 1) by tanh (IQL). Samples can still lie outside: the environment clips them.
    `net` maps whole rows [..., D] to the mean, where it is not to come from a perceptron.
    """

    def __init__(
        self,
        spec: Spec,
        hidden: Sequence[int] = (),
        activation: str = "tanh",
        log_std: float = 0.0,
        bounded: bool = False,
        net: nn.Module | None = None,
    ) -> None:
        super().__init__(spec, raw=net is not None)
        self.bounded = bounded
        self.net = net or MLP(self.encoder.size, hidden, spec.action_size, activation, orthogonal=True, head_gain=0.01)
        self.log_std = nn.Parameter(torch.full((spec.action_size,), log_std))

    def forward(self, obs: Tensor) -> Tensor:
        """The mean action [..., A]."""
        return self._mean(self.net(self.encoder(obs)))

    def _mean(self, output: Tensor) -> Tensor:
        return torch.tanh(output) if self.bounded else output

    def act(self, obs: Tensor, mode: str = "sample", mask: Tensor | None = None) -> Action:
        mean = self(obs)
        if mode == "mean":
            return Action(mean)
        noise = torch.randn_like(mean)
        return Action(mean + self.log_std.exp() * noise, gaussian_logp(noise, self.log_std))

    def candidates(self, obs: Tensor, count: int, mode: str = "sample") -> Tensor:
        mean = self(obs)[:, None].expand(-1, count, -1)
        if mode == "mean":
            noise = fixed_normal(count, mean.shape[-1], mean)
        else:
            noise = torch.randn_like(mean)
        return (mean + self.log_std.exp() * noise).clamp(-1.0, 1.0)

    def evaluate(self, obs: Tensor, action: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Log-density and entropy of given actions, both [...]; obs [..., D], action [..., A]."""
        return self.judge(self.net(self.encoder(obs)), action)

    def kl(self, obs: Tensor, other: Gaussian, mask: Tensor | None = None) -> Tensor:
        """KL(this || other) at obs [..., D], nats: [...]."""
        gap, ratio = self(obs) - other(obs), self.log_std - other.log_std
        scaled = (2 * ratio).exp() + (gap * (-other.log_std).exp()).square()
        return (0.5 * (scaled - 1) - ratio).sum(-1)

    def again(self, obs: Tensor, action: Tensor) -> Tensor:
        """A sample of this policy [..., A] as a function of its parameters, the noise that made it held fixed."""
        mean = self(obs)
        noise = ((action - mean) * (-self.log_std).exp()).detach()
        return mean + self.log_std.exp() * noise

    def judge(self, output: Tensor, action: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`evaluate` from what the net says of the observations."""
        mean = self._mean(output)
        logp = gaussian_logp((action - mean) * (-self.log_std).exp(), self.log_std)
        entropy = (self.log_std + HALF_LOG_TAU + 0.5).sum()
        return logp, entropy.expand_as(logp)

    def log_prob(self, obs: Tensor, action: Tensor) -> Tensor:
        return self.evaluate(obs, action)[0]
