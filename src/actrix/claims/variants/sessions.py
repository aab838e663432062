"""Other ways to heed several signals."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from actrix.data.batches import Transitions
from actrix.run.learner import Losses
from actrix.spec import Spec
from actrix.systems.recommender.tscac import TSCAC, Config

WORTH = 5.0  # minutes that a reaction counts for in a sum
STEP, MOST = 0.02, 10.0  # of a multiplier, per update, and its bound


class Summed(TSCAC):
    """Advantage-weighted regression on one critic of the weighted sum of all signals."""

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, replace(config, experts="none"))

    def targets(self, batch: Transitions) -> Tensor:
        """[m, B]: the same of every member, of which the first is used."""
        reward = batch.reward + WORTH * batch.next_obs[:, self.columns].sum(-1)
        after = torch.where(batch.terminated, 0.0, self.target_critic(batch.next_obs))
        return reward + self.discounts[0] * after


class RCPO(TSCAC):
    """Lagrangian relaxation on the critics of all signals: the advantage is A_1 + sum_i u_i A_i, and a multiplier u_i
    rises as long as the policy is worse than the data in signal i, by the weighted mean of A_i, and falls else.

    Source: Tessler et al. 2018 (1805.11074), with a critic for each signal as in 2302.01680.
    """

    multipliers: Tensor

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, replace(config, experts="none"))
        self.register_buffer("multipliers", torch.zeros(len(self.discounts) - 1, 1))

    def losses(self, batch: Transitions, phase: Hashable = None) -> Losses:
        losses = super().losses(batch, phase)
        if phase == "policy":
            advantage = self.advantages(batch)
            sought = (advantage[0] + (self.multipliers * advantage[1:]).sum(0)) / self.hold
            losses.groups["actor"] = self.actor.imitate(batch.obs, batch.action, self.bounded(sought))
        return losses

    def update(self, batch: Any, phase: Hashable = None) -> dict[str, Tensor]:
        figures = super().update(batch, phase)
        if phase == "policy":
            with torch.no_grad():
                ratio = self.actor.log_prob(batch.obs, batch.action) - self.behaviour.log_prob(batch.obs, batch.action)
                better = (ratio.exp().clamp(max=MOST) * self.advantages(batch)[1:]).mean(-1, keepdim=True)
                self.multipliers.sub_(STEP * better).clamp_(0.0, MOST)
        return figures

    @torch.no_grad()
    def advantages(self, batch: Transitions) -> Tensor:
        """[m, B], in standard deviations."""
        found = self.targets(batch) - self.critic(batch.obs)
        return found / (found.std(-1, keepdim=True) + 1e-6)
