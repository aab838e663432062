"""Direct advantage without what it rests on."""

from __future__ import annotations

import torch
from torch import Tensor

from actrix.data.batches import Steps
from actrix.language.steps import Segments
from actrix.run.feeds import Setting
from actrix.run.prefixes import PrefixFeed
from actrix.systems.language.direct_advantage_po import DirectAdvantagePO


class WholeFeed(PrefixFeed):
    """An answer is one step, whatever the task says: the only state of a problem is its beginning."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.segments = Segments(self.task.tokenizer, ())


class Whole(DirectAdvantagePO):
    """Response-level: an answer's advantage is its verdict less the value of the problem."""

    feed = WholeFeed


class Shuffled(DirectAdvantagePO):
    """Advantages that have nothing to do with their steps: those of others, drawn at random."""

    def advantage(self, steps: Steps) -> Tensor:
        found = super().advantage(steps)
        return found[torch.randperm(len(found))]
