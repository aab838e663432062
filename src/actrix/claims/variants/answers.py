"""RLOO with other advantages of answers."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from actrix.data.batches import Steps
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
