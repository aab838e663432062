"""RLPD: SAC on half data and half replay, with many critics and layer normalisation. A baseline of claims, no system.

    target  y = r + discount (1 - terminated) (min_{2 of E} Q'_i(s', a') - temperature log pi(a'|s'))
    critic  sum_i mean 0.5 (Q_i(s, a) - y)^2
    actor   mean temperature log pi(a|s) - mean_i Q_i(s, a), at every `delay`-th update; so the temperature

Source: Ball et al. 2023, Efficient Online Reinforcement Learning with Offline Data (2302.02948).
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
from actrix.run.learner import Learner, Losses
from actrix.run.offline import DatasetFeed
from actrix.run.settings import DataFirst
from actrix.spec import Spec


@dataclass(frozen=True)
class Config(DataFirst):
    delay: int = 1  # updates of the critics per update of the actor
    temperature: float = 1.0  # initial temperature, in units of reward per nat
    members: int = 10  # critics
    subset: int = 2  # of them, drawn anew for each target
    hidden: tuple[int, ...] = (256, 256)  # units of each hidden layer, actor and critics
    rate: float = 3e-4  # Adam learning rate of all groups
    discount: float = 0.99  # per environment step
    target_rate: float = 0.005  # Polyak rate of the target critics, per update


@system("rlpd", family="offline", paper="2302.02948", acts=("box",))
class RLPD(Learner):
    feed = DatasetFeed
    actor: SquashedGaussian

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        self.actor = SquashedGaussian(spec, config.hidden)
        self.critic = QEnsemble(spec, config.hidden, config.members, layer_norm=True)
        self.target_critic = tracked(self.critic, config.target_rate)
        self.temperature = Temperature(config.temperature, -spec.action_size / 2)
        adam = Adam(config.rate)
        self.optimise(critic=(self.critic, adam), actor=(self.actor, adam), temperature=(self.temperature, adam))

    def phase(self, updates: int) -> str:
        return "all" if (updates + 1) % self.config.delay == 0 else "critic"

    def losses(self, batch: Transitions, phase: Hashable = "all") -> Losses:
        losses = Losses(critic=regression(self.critic(batch.obs, batch.action).members, self.target(batch)))
        if phase == "all":
            action, logp = self.actor.sample(batch.obs)
            value = self.critic.frozen(batch.obs, action).reduce("mean")
            losses.groups["actor"] = (self.temperature().detach() * logp - value).mean()
            losses.groups["temperature"] = self.temperature.loss(logp)
        return losses

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        action, logp = self.actor.sample(batch.next_obs)
        value = self.target_critic(batch.next_obs, action).some(self.config.subset).reduce("min")
        return bootstrap(batch.reward, batch.terminated, value - self.temperature() * logp, self.config.discount)

    def after_step(self, phase: Hashable = None) -> None:
        self.target_critic.follow()
