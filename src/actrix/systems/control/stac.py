"""STAC: soft actor-critic with one critic, that knows how much chance is in a step, and a price on that chance.

The critic is a Gaussian, fitted by likelihood to the one-step target. Its standard deviation is what the target still
varies by once s and a are known: chance in the reward and the next step, not in the whole return. Target and actor
subtract `pessimism` times it: that takes the place of the second critic against overestimation, and where chance is
real it makes the policy avoid it.

    critic       Z(s, a) = N(m, std^2), std = softplus(max(raw, -5));  loss mean -log N(y; m(s, a), std(s, a)^2)
    target       y = r + discount (1 - terminated) (m'(s', a') - pessimism std'(s', a') - temperature log pi(a'|s')),
                 a' ~ pi(.|s')
    actor        mean temperature log pi(a|s) - (m(s, a) - pessimism std(s, a)),  a ~ pi(.|s) reparameterised
    temperature  T <- T exp(-rate T mean (-log pi(a|s) - target_entropy)): gradient steps on log T
    Z' follows Z by target_rate after every update

All networks have normalised layers, and dropout in all that is learned from, the target too; none in acting. How much
`pessimism` is good depends on the task: 0 to 0.5 in the paper (0.5 Hopper, 0.25 Ant and Humanoid, 0.125 Walker2d, 0
HalfCheetah and Swimmer). Evaluation plays the mean of 10 squashed actions, as the author does, but of evenly spread
noise that is always the same.
Source: Özalp 2026, Stochastic Actor-Critic: Mitigating Overestimation via Temporal Aleatoric Uncertainty (2601.00737),
and the author's code (ugurcanozalp/rl-warehouse).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from actrix.actors.gaussian import SoftGaussian
from actrix.actors.temperature import Temperature
from actrix.credit import bootstrap
from actrix.critics.distributions import GaussianQ, GaussianValue
from actrix.data.batches import Transitions
from actrix.nets.targets import tracked
from actrix.objectives.distributional import gaussian_likelihood
from actrix.optim import SGD, Adam
from actrix.registry import system
from actrix.run.feeds import ReplayFeed
from actrix.run.learner import Learner, Losses
from actrix.spec import Spec


@dataclass(frozen=True)
class Config:
    pessimism: float = 0.25  # standard deviations subtracted from a mean (beta); depends on the task, 0 to 0.5
    dropout: float = 0.01  # chance that an output of a hidden layer is dropped, actor and critic
    hidden: tuple[int, ...] = (256, 256)  # units of each hidden layer, actor and critic
    rate: float = 3e-4  # Adam learning rate of critic and actor, and step of the temperature
    delay: int = 1  # updates of the critic per update of the actor
    discount: float = 0.99  # per environment step
    target_rate: float = 0.005  # Polyak rate of the target critic, per update
    temperature: float = 0.2  # initial temperature, in units of reward per nat
    learn_temperature: bool = True  # False keeps it fixed
    target_entropy: float | None = None  # nats; None is minus the number of action dimensions
    batch: int = 256  # transitions per update
    capacity: int = 1_000_000  # transitions in the replay
    warmup: int = 1_000  # environment steps of uniform actions before learning (10,000 for tasks of 1,000 steps)
    updates_per_step: float = 1.0  # updates per environment step
    envs: int = 1  # environments stepped together


@system("stac", family="control", paper="2601.00737", acts=("box",))
class STAC(Learner):
    feed = ReplayFeed
    actor: SoftGaussian
    temperature: Temperature

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        entropy = -float(spec.action_size) if config.target_entropy is None else config.target_entropy
        self.actor = SoftGaussian(spec, config.hidden, config.dropout)
        self.critic = GaussianQ(spec, config.hidden, 1, "relu", True, config.dropout, raw_low=-5.0)
        self.target_critic = tracked(self.critic, config.target_rate)
        self.temperature = Temperature(config.temperature, entropy)
        adam = Adam(config.rate)
        learned = {"temperature": (self.temperature, SGD(config.rate))} if config.learn_temperature else {}
        self.optimise(critic=(self.critic, adam), actor=(self.actor, adam), **learned)

    def phase(self, updates: int) -> str:
        return "both" if (updates + 1) % self.config.delay == 0 else "critic"

    def losses(self, batch: Transitions, phase: Hashable = "both") -> Losses:
        judged = self.critic(batch.obs, batch.action, training=True)
        losses = Losses(critic=gaussian_likelihood(judged.mean, judged.std, self.target(batch)))
        losses.note(value=judged.mean.mean(), std=judged.std.mean(), temperature_value=self.temperature())
        if phase == "critic":
            return losses
        action, logp = self.actor.sample(batch.obs, training=True)
        worth = self.careful(self.critic.frozen(batch.obs, action, training=True))
        losses.groups["actor"] = (self.temperature().detach() * logp - worth).mean()
        if self.config.learn_temperature:
            surplus = (-logp - self.temperature.target_entropy).mean().detach()
            losses.groups["temperature"] = self.temperature() * surplus
        return losses.note(entropy=-logp.mean())

    def careful(self, value: GaussianValue) -> Tensor:
        """What a Gaussian of values [1, B] counts for: [B]."""
        return value.bound(self.config.pessimism)[0]

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        action, logp = self.actor.sample(batch.next_obs, training=True)
        soft = self.careful(self.target_critic(batch.next_obs, action, training=True)) - self.temperature() * logp
        return bootstrap(batch.reward, batch.terminated, soft, self.config.discount)

    def after_step(self, phase: Hashable = "both") -> None:
        self.target_critic.follow()
