"""RLIF's supervision with other lessons drawn from it: the baselines of its paper."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

import numpy as np
import torch

from actrix.data.batches import Transitions
from actrix.data.mixture import Mixture
from actrix.run.feeds import Setting
from actrix.run.learner import Losses
from actrix.run.offline import Continued
from actrix.run.supervised import Supervised, SupervisedFeed
from actrix.systems.imitation.rlif import RLIF


class Shown(Supervised):
    """Data grow by the supervisor's steps; nothing else is kept, and a batch is drawn evenly from all of them."""

    def stored(self, columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: values[self.led] for name, values in super().stored(columns).items()}

    def sample(self, n: int) -> Transitions:
        return Mixture((self.data, self.replay), (self.recorded, len(self.replay))).sample(n)


class ShownFeed(SupervisedFeed):
    def continued(self, setting: Setting, share: float) -> Continued:
        return Shown(setting, self.data, share)


class HGDagger(RLIF):
    """HG-DAgger (Kelly et al. 2019, 1810.02890): the actor's mean clones the data and what the supervisor did when they
    had taken over, by squared error."""

    feed = ShownFeed

    def losses(self, batch: Transitions, phase: Hashable = "all") -> Losses:
        mean = torch.tanh(self.actor.distribution(batch.obs)[0])
        return Losses(actor=(mean - batch.action).square().mean())


class Unlabelled(RLIF):
    """RLIF to which takeovers cost nothing."""

    def losses(self, batch: Transitions, phase: Hashable = "all") -> Losses:
        return super().losses(replace(batch, reward=torch.zeros_like(batch.reward)), phase)
