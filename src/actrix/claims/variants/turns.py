"""POAD with another discount."""

from __future__ import annotations

from torch import Tensor

from actrix.data.batches import Steps
from actrix.systems.agent.poad import POAD


class Every(POAD):
    """After every token, and otherwise the same: the paper's NTPO."""

    def discounts(self, steps: Steps) -> float | Tensor:
        discount: float = self.config.discount
        return discount
