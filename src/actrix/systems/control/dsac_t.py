"""DSAC-T: soft actor-critic whose critics return the distribution of the return, as a Gaussian.

Knowing how uncertain a return is steadies the critics: errors are weighted by it. Three refinements remove the
variance that a sampled return brings into the gradient: the mean is fitted to an expected target, the less
optimistic of two distributions supplies it, and bounds and weights follow the critics' own standard deviation b.

    critic       Z_i(s, a) = N(Q_i, std_i^2);   b_i follows the batch mean of std_i by target_rate
    target       Y = r + discount (1 - terminated) (Z'_j(s', a') - temperature log pi'(a'|s')),  a' ~ pi'(.|s')
                 j = argmin_i Q'_i(s', a'), row by row;   y is the mean of Y, z a draw of it
    gradient     w_i (Q_i - y) for the mean,   w_i (std_i^2 - (clip(z, Q_i +- 3 b_i) - Q_i)^2) / std_i for the std,
                 w_i = clip(b_i^2 / std_i^2, 0.1, 10)
    actor        mean temperature log pi(a|s) - min_i Q_i(s, a), at every `delay`-th update only
    temperature  as in SAC, with the actor;   pi', Z' follow by target_rate with the actor

DSACv1 (2001.02811), from which it comes, is `members=1, expected_target=False, bound=10, adaptive_weight=False`:
one distribution, its mean fitted to the draw z, a fixed bound, and the maximum-likelihood weight 1 / std^2.

All groups that move in an update take their gradients at the same parameters, as in the published code.
Source: Duan et al. 2025, Distributional Soft Actor-Critic with Three Refinements (2310.05858), and the authors' code
for constants (0.1 where a quotient needs it, huber, initial temperature e, the target actor).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from actrix.actors.gaussian import SquashedGaussian
from actrix.actors.temperature import Temperature
from actrix.critics.distributions import GaussianQ, GaussianValue
from actrix.data.batches import Transitions
from actrix.nets.targets import tracked
from actrix.objectives.distributional import gaussian_regression, variance_weight
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.feeds import ReplayFeed
from actrix.run.learner import Learner, Losses
from actrix.spec import Spec


@dataclass(frozen=True)
class Config:
    hidden: tuple[int, ...] = (256, 256, 256)  # units of each hidden layer, actor and critics (gelu)
    rate: float = 1e-4  # Adam learning rate of critics and actor
    temperature_rate: float = 3e-4  # Adam learning rate of the temperature
    discount: float = 0.99  # per environment step
    target_rate: float = 0.005  # Polyak rate of the targets per actor update, and of b per update
    delay: int = 2  # updates of the critics per update of the actor
    members: int = 2  # critics
    expected_target: bool = True  # False fits means to a draw of the target
    bound: float | None = None  # on a draw's distance from the mean, in units of return; None is 3 b
    adaptive_weight: bool = True  # False weights errors by 1 / std^2
    huber: float = 50.0  # error from which on squared errors grow linearly, in units of return
    temperature: float = 2.718  # initial temperature, in units of reward per nat
    learn_temperature: bool = True  # False keeps it fixed
    target_entropy: float | None = None  # nats; None is minus the number of action dimensions
    log_std_high: float = 0.5  # upper bound of the policy's log standard deviation, before squashing
    batch: int = 256  # transitions per update
    capacity: int = 1_000_000  # transitions in the replay
    warmup: int = 1_000  # environment steps of uniform actions before learning (10,000 in the paper)
    updates_per_step: float = 1.0  # updates per environment step (0.05 in the authors' scripts)
    envs: int = 1  # environments stepped together


@system("dsac-t", family="control", paper="2310.05858", acts=("box",))
class DSACT(Learner):
    feed = ReplayFeed
    actor: SquashedGaussian
    temperature: Temperature
    spread: Tensor  # [E, 1] the running mean of each critic's standard deviation; -1 before the first batch

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        entropy = -float(spec.action_size) if config.target_entropy is None else config.target_entropy
        self.actor = SquashedGaussian(spec, config.hidden, "gelu", (-20.0, config.log_std_high))
        self.critic = GaussianQ(spec, config.hidden, config.members)
        self.target_actor = tracked(self.actor, config.target_rate)
        self.target_critic = tracked(self.critic, config.target_rate)
        self.temperature = Temperature(config.temperature, entropy)
        self.register_buffer("spread", torch.full((config.members, 1), -1.0))
        adam = Adam(config.rate)
        learned = {"temperature": (self.temperature, Adam(config.temperature_rate))}
        self.optimise(
            critic=(self.critic, adam), actor=(self.actor, adam), **(learned if config.learn_temperature else {})
        )

    def phase(self, updates: int) -> str:
        return "both" if (updates + 1) % self.config.delay == 0 else "critic"

    def losses(self, batch: Transitions, phase: Hashable = "both") -> Losses:
        config = self.config
        target, value = self.target(batch), self.critic(batch.obs, batch.action)
        drawn = target.sample()
        self.watch(value.std.detach())
        losses = Losses(
            critic=gaussian_regression(
                value.mean,
                value.std,
                target.mean if config.expected_target else drawn,
                drawn,
                3 * self.spread if config.bound is None else config.bound,
                variance_weight(value.std, self.spread if config.adaptive_weight else None),
                config.huber,
            )
        ).note(value=value.mean.mean(), std=value.std.mean(), temperature_value=self.temperature())
        if phase == "critic":
            return losses
        action, logp = self.actor.sample(batch.obs)
        best = self.critic.frozen(batch.obs, action).reduce("min")
        losses.groups["actor"] = (self.temperature().detach() * logp - best).mean()
        if config.learn_temperature:
            losses.groups["temperature"] = self.temperature.loss(logp)
        return losses.note(entropy=-logp.mean())

    @torch.no_grad()
    def target(self, batch: Transitions) -> GaussianValue:
        """The distribution of the target, [1, B]."""
        action, logp = self.target_actor.copy.sample(batch.next_obs)
        value = self.target_critic(batch.next_obs, action).least()
        return value.backup(batch.reward, batch.terminated, self.config.discount, self.temperature() * logp)

    @torch.no_grad()
    def watch(self, std: Tensor) -> None:
        """Move the running mean of each critic's standard deviation; the first batch sets it."""
        mean = std.mean(-1, keepdim=True)
        self.spread.copy_(torch.where(self.spread < 0, mean, self.spread.lerp(mean, self.config.target_rate)))

    def after_step(self, phase: Hashable = "both") -> None:
        if phase != "critic":
            self.target_actor.follow()
            self.target_critic.follow()
