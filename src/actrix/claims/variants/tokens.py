"""RTO with its token rewards elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor

from actrix.data.batches import Steps
from actrix.systems.preference.rto import RTO


class Scattered(RTO):
    """Each answer's token rewards in a random order: the same sum, at other tokens."""

    def parts(self, steps: Steps) -> tuple[Tensor, Tensor, Tensor]:
        token, price, score = super().parts(steps)
        mask = steps.action_mask
        order = torch.where(mask, torch.rand(mask.shape), 2.0).argsort(1)  # a row's own tokens first, in random order
        places = torch.where(mask, torch.arange(mask.shape[1]), mask.shape[1]).argsort(1)
        return torch.zeros_like(token).scatter(1, places, token.gather(1, order)) * mask, price, score
