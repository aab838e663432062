"""TD3 whose actor is held to what was done: the learner of TD3+BC, and of what learns as it does from other batches."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch
from torch import Tensor

from actrix.actors.deterministic import Deterministic, smoothed
from actrix.credit import bootstrap
from actrix.critics.values import QEnsemble
from actrix.data.batches import Transitions
from actrix.nets.normaliser import observer_of
from actrix.nets.targets import tracked
from actrix.objectives import regression
from actrix.optim import Adam
from actrix.run.learner import Learner, Losses
from actrix.run.offline import DatasetFeed
from actrix.spec import Spec


class HeldLearner(Learner):
    """Equations: see `td3-bc`. The config gives the fields of `settings.Held`."""

    feed = DatasetFeed
    actor: Deterministic

    def __init__(self, spec: Spec, config: Any) -> None:
        super().__init__(spec, config)
        self.observer = observer_of(spec) if config.normalise_obs else None
        self.actor = Deterministic(spec, config.hidden, noise=config.noise)
        self.critic = QEnsemble(spec, config.hidden, members=2)
        self.target_actor = tracked(self.actor, config.target_rate)
        self.target_critic = tracked(self.critic, config.target_rate)
        adam = Adam(config.rate)
        self.optimise(critic=(self.critic, adam), actor=(self.actor, adam))

    def phase(self, updates: int) -> str:
        return "both" if (updates + 1) % self.config.delay == 0 else "critic"

    def losses(self, batch: Transitions, phase: Hashable = "both") -> Losses:
        obs = self.perceive(batch.obs)
        taken = self.critic(obs, batch.action).members
        losses = Losses(critic=regression(taken, self.target(batch)))
        if phase != "critic":
            value = self.critic.frozen(obs, self.actor(obs)).members[0]
            scale = self.config.weight / value.abs().mean().detach()
            imitation = self.actor.imitate(obs, batch.action) / self.spec.action_size
            losses.groups["actor"] = imitation - scale * value.mean()
            losses.note(imitation=imitation)
        return losses.note(value=taken.mean())

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        config, next_obs = self.config, self.perceive(batch.next_obs)
        action = smoothed(self.target_actor(next_obs), config.smoothing, config.smoothing_clip)
        value = self.target_critic(next_obs, action).reduce("min")
        return bootstrap(batch.reward, batch.terminated, value, config.discount)

    def after_step(self, phase: Hashable = "both") -> None:
        if phase != "critic":
            self.target_actor.follow()
            self.target_critic.follow()
