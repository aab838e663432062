"""Parts of a replay that count by weights of their own: what one policy did, then what the next one did."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from actrix.data.batches import Transitions
from actrix.data.replay import Replay


def mixed(count: int, rate: float) -> list[float]:
    """The weights of `count` parts, oldest first, where each new one takes the share `rate` of all: (1 - rate)^(t - 1)
    of the first, then rate (1 - rate)^(t - k) of part k; they sum to 1."""
    return [(1.0 if k == 0 else rate) * (1.0 - rate) ** (count - 1 - k) for k in range(count)]


class Spans:
    """Rows `start` to `stop` of a replay, counted from the first ever added, for each of some spans. One is drawn by
    its weight (any scale; None: its length), and a row of it evenly. Rows that are no longer held are not drawn.
    """

    def __init__(
        self, replay: Replay, spans: Sequence[tuple[int, int]], weights: Sequence[float] | None = None
    ) -> None:
        self.replay = replay
        oldest = replay.total - len(replay)
        bounds = torch.tensor(spans, dtype=torch.int64).reshape(-1, 2).clamp(min=oldest)
        self.start, self.length = bounds[:, 0], bounds[:, 1] - bounds[:, 0]
        weight = self.length.double() if weights is None else torch.tensor(weights, dtype=torch.float64)
        self.bounds = (weight * (self.length > 0)).cumsum(0)

    def sample(self, n: int) -> Transitions:
        """n transitions with replacement, drawn from torch's current stream."""
        points = torch.rand(n, dtype=torch.float64) * self.bounds[-1]
        which = torch.searchsorted(self.bounds, points, right=True).clamp(max=len(self.bounds) - 1)
        length = self.length[which]
        within = (torch.rand(n, dtype=torch.float64) * length).long().minimum(length - 1)
        return self.replay.at(self.physical(self.start[which] + within))

    def physical(self, rows: Tensor) -> Tensor:
        """Where rows that are counted from the first ever added are held."""
        return rows % self.replay.rows
