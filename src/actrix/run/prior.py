"""SAC that begins with data: the learner of RLPD, and of what learns as it does from other rewards.

    target  y = r + discount (1 - terminated) (min_{subset of E} Q'_i(s', a') - temperature log pi(a'|s'))
    critic  sum_i mean 0.5 (Q_i(s, a) - y)^2, with layer normalisation
    actor   mean temperature log pi(a|s) - mean_i Q_i(s, a), at every `delay`-th update; so the temperature

Half of each batch is data, and half replay. The target entropy is -dim(A) / 2.
Source: Ball et al. 2023, Efficient Online Reinforcement Learning with Offline Data (2302.02948).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

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
from actrix.run.learner import Learner, Losses
from actrix.run.offline import DatasetFeed
from actrix.spec import Spec


class PriorLearner(Learner):
    """The config gives the fields of `settings.Prior`. `soft`: whether the target pays for entropy."""

    feed = DatasetFeed
    soft = True
    actor: SquashedGaussian

    def __init__(self, spec: Spec, config: Any) -> None:
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
        taken = self.critic(batch.obs, batch.action).members
        losses = Losses(critic=regression(taken, self.target(batch))).note(value_taken=taken.mean())
        if phase == "all":
            action, logp = self.actor.sample(batch.obs)
            value, temperature = self.critic.frozen(batch.obs, action).reduce("mean"), self.temperature().detach()
            losses.groups["actor"] = (temperature * logp - value).mean()
            losses.groups["temperature"] = self.temperature.loss(logp)
            losses.note(entropy=-logp.mean(), temperature_value=temperature)
        return losses

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        action, logp = self.actor.sample(batch.next_obs)
        value = self.target_critic(batch.next_obs, action).some(self.config.subset).reduce("min")
        value = value - self.temperature() * logp if self.soft else value
        return bootstrap(batch.reward, batch.terminated, value, self.config.discount)

    def after_step(self, phase: Hashable = None) -> None:
        self.target_critic.follow()
