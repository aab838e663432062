"""Rollouts that are learned from by comparison: what a trajectory earns is how many of its like it beats."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from actrix.data.batches import Steps
from actrix.data.contests import Contest, worth
from actrix.rng import seed_of
from actrix.run.feeds import RolloutFeed, Setting
from actrix.run.learner import Learner


class ContestFeed(RolloutFeed):
    """On-policy, by preferences between trajectories; the learner never sees the environment's rewards.

    Every round begins with new episodes. The first of each environment, up to `horizon` steps, is a trajectory; steps
    after its end are left out. A trajectory's reward, in equal parts of all its steps, is its win rate among the latest
    `queue` others (`data.contests`), less a half: rewards that are all above 0 would pay for what is familiar while
    values are still rising. The judge, who sees the environment's rewards, prefers by `prefers`, and is wrong
    in a share `noise` of comparisons. What is logged are true returns. The config gives these, and what RolloutFeed
    reads.
    """

    partial = True

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        config = setting.learner.config
        self.prefers = config.prefers
        worth(torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool), self.prefers)  # (or says what is wrong)
        self.contest = Contest(config.queue, noise=config.noise)

    def collect(self, learner: Learner) -> Steps:
        began = self.progress.steps
        self.reset()
        steps = first_episodes(super().collect(learner))
        generator = torch.Generator().manual_seed(seed_of(self.seed, "contest", began))
        return replace(steps, reward=self.rewards(steps, generator))

    def rewards(self, steps: Steps, generator: torch.Generator) -> Tensor:
        """What every step earns [N, T]; its reward in `steps` is the environment's."""
        mask = steps.action_mask
        share = (self.win_rates(steps, generator) - 0.5) / mask.sum(1).clamp(min=1)
        return torch.where(mask, share[:, None], 0.0)

    def win_rates(self, steps: Steps, generator: torch.Generator) -> Tensor:
        """Of every trajectory [N]."""
        seen = worth(steps.reward, steps.action_mask, self.prefers)
        return self.contest.enter(seen, generator).to(steps.reward.dtype)

    def state(self) -> dict[str, Any]:
        return {**super().state(), "contest": self.contest.state()}

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        self.contest.load(state["contest"])


def first_episodes(steps: Steps) -> Steps:
    """Rollouts [N, T] with the steps after each row's first end masked."""
    ended = (steps.terminated | steps.truncated).long()
    before = ended.cumsum(1) - ended  # ends before this step
    return replace(steps, action_mask=steps.action_mask & (before == 0))
