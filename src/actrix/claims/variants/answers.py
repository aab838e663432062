"""RLOO with other advantages of answers, and D3S with other choices among them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from actrix import credit
from actrix.data.batches import Steps
from actrix.systems.language.d3s import D3S
from actrix.systems.language.rloo import RLOO


class Raft(RLOO):
    """Supervised learning on the best answer of each group (the first of equals)."""

    def prepare(self, steps: Steps) -> Steps:
        assert steps.group is not None
        score, order = steps.reward.sum(1), torch.arange(len(steps))
        top = torch.full_like(score, -torch.inf).scatter_reduce(0, steps.group, score, "amax")[steps.group]
        chosen = torch.where(score == top, order, len(order))
        first = torch.full_like(order, len(order)).scatter_reduce(0, steps.group, chosen, "amin")[steps.group]
        return weighed(steps, (order == first).to(score.dtype))


class Average(RLOO):
    """REINFORCE with one baseline for all prompts: the mean of the round."""

    def prepare(self, steps: Steps) -> Steps:
        score = steps.reward.sum(1)
        return weighed(steps, score - score.mean())


def weighed(steps: Steps, advantage: Tensor) -> Steps:
    """Each answer's advantage [B] for all of its tokens."""
    return replace(steps, advantage=advantage[:, None].expand_as(steps.reward))


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
        steps = weighed(steps, again)
        return replace(steps, action_mask=steps.action_mask & kept[:, None])
