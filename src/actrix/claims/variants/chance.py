"""STAC without its eye for chance."""

from __future__ import annotations

from torch import Tensor

from actrix.critics.distributions import GaussianValue
from actrix.systems.control.stac import STAC


class Blind(STAC):
    """The deviation that is subtracted is the mean of the batch, everywhere: as much pessimism, but of nothing."""

    def careful(self, value: GaussianValue) -> Tensor:
        return value.members[0] - self.config.pessimism * value.std.mean().detach()
