"""AILBoost without boosting: its baseline, and its ablation."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

from actrix.data.batches import Transitions
from actrix.data.mixture import join
from actrix.data.spans import Spans
from actrix.rng import torch_stream
from actrix.run.boosted import BoostedFeed
from actrix.run.feeds import ReplayFeed
from actrix.run.learner import Learner
from actrix.systems.imitation.ailboost import AILBoost


class WholeFeed(BoostedFeed):
    """No rounds: with every update of the policy the discriminator has one too, against the whole replay."""

    def round(self, learner: Learner) -> Iterator[tuple[Any, Hashable]]:
        if self.progress.steps < self.warmup:
            self.gather(learner)
            return
        for batch, _ in ReplayFeed.round(self, learner):
            with torch_stream(self.seed, "contrast", self.progress.updates):
                yield self.contrast(self.config.batch // 2), "discriminator"
            yield batch, "policy"

    def contrast(self, n: int) -> Transitions:
        return join((self.expert.sample(n), self.replay.sample(n)))

    def sample(self, n: int) -> Transitions:
        return self.replay.sample(n)


class DAC(AILBoost):
    """Discriminator actor-critic (Kostrikov et al. 2018, 1809.02925), without absorbing states: for tasks that do not
    terminate. Its logistic loss and its reward, the logit, are settings of AILBoost."""

    feed = WholeFeed


class EvenFeed(BoostedFeed):
    """Every kept policy has the same share of the mixture."""

    def contrast(self, n: int) -> Transitions:
        return join((self.expert.sample(n), Spans(self.replay, self.spans).sample(n)))


class Even(AILBoost):
    """AILBoost whose discriminator sees all that the kept policies did evenly."""

    feed = EvenFeed
