"""D3S with other choices among answers and tokens."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from actrix import credit
from actrix.data.batches import Steps
from actrix.systems.language.d3s import D3S


class Anywhere(D3S):
    """As many answers and tokens as D3S learns from, drawn at random."""

    def kept_answers(self, advantage: Tensor, judged: Tensor) -> Tensor:
        kept = super().kept_answers(advantage, judged)
        return credit.highest(torch.rand(kept.shape), judged, kept.sum())

    def kept_tokens(self, steps: Steps, mask: Tensor) -> Tensor:
        return credit.highest(torch.rand(mask.shape), mask, super().kept_tokens(steps, mask).sum())


class Again(D3S):
    """Advantages of the answers that are kept, standardised among themselves: PODS (2504.13818), where answers are
    chosen within groups, and all of their tokens are learned from."""

    def prepare(self, steps: Steps) -> Steps:
        assert steps.group is not None
        score = steps.reward.sum(1)
        kept = self.kept_answers(self.worth(steps), score.isfinite())
        again = credit.group(torch.where(kept, score, torch.nan), steps.group)
        advantage = again[:, None].expand_as(steps.reward)
        return replace(steps, advantage=advantage, action_mask=steps.action_mask & kept[:, None])
