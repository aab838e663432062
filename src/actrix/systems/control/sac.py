"""SAC: soft actor-critic with a learned temperature.

Maximises return plus `temperature` times entropy; the temperature is the multiplier of the constraint that the
policy's entropy stays above a target.

    target       y = r + discount (1 - terminated) (min_i Q'_i(s', a') - temperature log pi(a'|s')),  a' ~ pi(.|s')
    critic       sum_i mean 0.5 (Q_i(s, a) - y)^2
    actor        mean temperature log pi(a|s) - min_i Q_i(s, a),  a ~ pi(.|s) reparameterised
    temperature  -mean log_temperature (log pi(a|s) + target_entropy),  target_entropy = -dim(A)
    Q' follows Q by target_rate after every update

Source: Haarnoja et al. 2018, Soft Actor-Critic Algorithms and Applications (1812.05905), algorithm 1.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from actrix.actors.gaussian import SquashedGaussian
from actrix.actors.temperature import Temperature
from actrix.credit import bootstrap
from actrix.critics.values import QEnsemble
from actrix.data.batches import Transitions
from actrix.nets.targets import tracked
from actrix.objectives import regression
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.feeds import ReplayFeed
from actrix.run.learner import Learner, Losses
from actrix.spec import Spec


@dataclass(frozen=True)
class Config:
    hidden: tuple[int, ...] = (256, 256)  # units of each hidden layer, actor and critics
    rate: float = 3e-4  # Adam learning rate of all three groups
    discount: float = 0.99  # per environment step
    target_rate: float = 0.005  # Polyak rate of the target critics, per update
    temperature: float = 1.0  # initial temperature, in units of reward per nat
    learn_temperature: bool = True  # False keeps it fixed
    target_entropy: float | None = None  # nats; None is minus the number of action dimensions
    batch: int = 256  # transitions per update
    capacity: int = 1_000_000  # transitions in the replay
    warmup: int = 1_000  # environment steps of uniform actions before learning (10,000 for tasks of 1,000 steps)
    updates_per_step: float = 1.0  # updates per environment step
    envs: int = 1  # environments stepped together


@system("sac", family="control", paper="1812.05905", acts=("box",))
class SAC(Learner):
    feed = ReplayFeed
    actor: SquashedGaussian
    temperature: Temperature

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        target = -float(spec.action_size) if config.target_entropy is None else config.target_entropy
        self.actor = SquashedGaussian(spec, config.hidden)
        self.critic = QEnsemble(spec, config.hidden, members=2)
        self.target_critic = tracked(self.critic, config.target_rate)
        self.temperature = Temperature(config.temperature, target)
        adam = Adam(config.rate)
        learned = {"temperature": (self.temperature, adam)} if config.learn_temperature else {}
        self.optimise(critic=(self.critic, adam), actor=(self.actor, adam), **learned)

    def losses(self, batch: Transitions, phase: Hashable = None) -> Losses:
        action, logp = self.actor.sample(batch.obs)
        value = self.critic.frozen(batch.obs, action).reduce("min")
        temperature = self.temperature().detach()
        losses = Losses(
            critic=regression(self.critic(batch.obs, batch.action).members, self.target(batch)),
            actor=(temperature * logp - value).mean(),
        )
        if self.config.learn_temperature:
            losses.groups["temperature"] = self.temperature.loss(logp)
        return losses.note(entropy=-logp.mean(), value=value.mean(), temperature_value=temperature)

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        action, logp = self.actor.sample(batch.next_obs)
        soft = self.target_critic(batch.next_obs, action).reduce("min") - self.temperature() * logp
        return bootstrap(batch.reward, batch.terminated, soft, self.config.discount)

    def after_step(self, phase: Hashable = None) -> None:
        self.target_critic.follow()
