"""Chunks: H actions in a row as one action, for those who decide every H steps."""

from __future__ import annotations

import torch
from torch import Tensor

from actrix.data.batches import Transitions
from actrix.data.datasets import Dataset


class Chunks:
    """The transitions of a data set over `length` H steps, sampled like it. A batch has, for a row t of an episode:

    action [B, H * A]: a_t, ..., a_{t+H-1}; 0 for what comes after the episode's end
    reward [B]: sum of discount^k r_{t+k} over k < H, up to the episode's end
    next_obs, terminated, truncated: of the last of these steps, so the value that follows is discounted by discount^H
    valid [B]: False where the episode is cut off before H steps have passed: what would have followed is not known.
        Where it terminates, nothing follows, and the row is good.
    """

    def __init__(self, data: Dataset, length: int, discount: float) -> None:
        self.data, self.length = data, length
        self.starts = torch.from_numpy(data.starts)
        self.weights = discount ** torch.arange(length)

    def __len__(self) -> int:
        return len(self.data)

    def sample(self, n: int) -> Transitions:
        """n chunks, uniformly with replacement, drawn from torch's current stream."""
        return self.at(torch.randint(len(self), (n,)))

    def at(self, index: Tensor) -> Transitions:
        """The chunks that begin in the given rows [n]."""
        tensor = self.data.tensor
        end = self.starts[torch.searchsorted(self.starts, index, right=True)] - 1
        rows = index[:, None] + torch.arange(self.length)
        inside = rows <= end[:, None]  # [n, H]
        rows = torch.minimum(rows, end[:, None])
        last = rows[:, -1]
        action = tensor("action")[rows]
        terminated = tensor("terminated")[last]
        return Transitions(
            obs=tensor("obs")[index],
            action=(action * inside[..., None].to(action.dtype)).flatten(1),
            reward=(tensor("reward")[rows] * inside * self.weights).sum(1),
            next_obs=tensor("next_obs")[last],
            terminated=terminated,
            truncated=tensor("truncated")[last],
            valid=inside[:, -1] | terminated,
        )
