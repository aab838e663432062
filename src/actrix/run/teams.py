"""PPO for a team: per-agent ratios, the team's advantage, one critic of all in units of its targets."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import torch

from actrix import credit
from actrix.actors.team import TeamActor
from actrix.critics.values import ScaledValue
from actrix.data.batches import Steps
from actrix.nets.normaliser import observer_of
from actrix.objectives import clipped, clipped_value, reduce
from actrix.optim import Adam
from actrix.run.feeds import RolloutFeed
from actrix.run.learner import Learner, Losses
from actrix.spec import Spec


class TeamLearner(Learner):
    """Base of the systems that differ in how a team decides: a subclass gives the actor. Equations: see `mappo`.

    The config gives the fields of `TeamRollouts`.
    """

    feed = RolloutFeed

    def __init__(self, spec: Spec, config: Any, actor: TeamActor) -> None:
        super().__init__(spec, config)
        self.actor: TeamActor = actor
        self.critic = ScaledValue(spec, config.hidden, config.value_rate)
        self.observer = observer_of(spec) if config.normalise_obs else None
        self.optimise(
            actor=(self.actor, Adam(config.actor_rate, epsilon=1e-5, clip_norm=config.clip_norm)),
            critic=(self.critic, Adam(config.critic_rate, epsilon=1e-5, clip_norm=config.clip_norm)),
        )

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        steps = self.critic.credit(steps, self.config.discount, self.config.decay)
        assert steps.target is not None
        self.critic.follow(steps.target, steps.action_mask)
        return steps

    def losses(self, batch: Steps, phase: Hashable = None) -> Losses:
        config, mask = self.config, batch.action_mask
        assert batch.advantage is not None
        assert batch.target is not None
        advantage = credit.standardise(batch.advantage, mask) if config.normalise_advantage else batch.advantage
        logp, entropy = self.actor.evaluate(batch.obs, batch.action, batch.mask, batch.condition)
        per_step = clipped(logp, batch.logp_behaviour, advantage[..., None], config.clip).mean(-1)
        spread = reduce(entropy.mean(-1), mask, "token", batch.total)
        unit = self.critic.std
        value, target, gain = self.critic(batch.obs) / unit, batch.target / unit, batch.advantage / unit
        error = clipped_value(value, target, target - gain, config.value_clip, config.huber)
        change = (logp - batch.logp_behaviour).detach()
        return Losses(
            actor=reduce(per_step, mask, "token", batch.total) - config.entropy_weight * spread,
            critic=reduce(error, mask, "token", batch.total),
        ).note(entropy=spread, kl=reduce((change.exp() - 1 - change).mean(-1), mask, "token", batch.total))
