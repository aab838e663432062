"""SRL whose model knows nothing."""

from __future__ import annotations

import torch
from torch import Tensor

from actrix.systems.control.sequence_rl import SRL


class Still(SRL):
    """Every action of a sequence is judged where the first is: the model is the identity."""

    @torch.no_grad()
    def recalled(self, obs: Tensor, action: Tensor) -> Tensor:
        return obs[:, None].expand(-1, action.shape[1], -1)
