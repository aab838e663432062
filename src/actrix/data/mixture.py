"""Several sources as one: every batch holds rows of each, in proportion to their weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Protocol

import torch
from torch import Tensor

from actrix.data.batches import Transitions
from actrix.data.datasets import Dataset


class Source(Protocol):
    """Where transitions come from: a replay, a data set, a mixture."""

    def sample(self, n: int) -> Transitions: ...


class Mixture:
    """Draws `weights[k]` (any positive scale) of each batch's rows from `sources[k]`.

    Counts are drawn by systematic sampling: of n rows a source gives its share n w, rounded down or up, and n w on
    average.
    """

    def __init__(self, sources: Sequence[Source], weights: Sequence[float]) -> None:
        assert len(sources) == len(weights)
        assert min(weights) >= 0 < sum(weights)
        used = [(s, w) for s, w in zip(sources, weights) if w > 0]
        self.sources = [s for s, _ in used]
        share = torch.tensor([w for _, w in used], dtype=torch.float64)
        self.bounds = (share / share.sum()).cumsum(0)

    def counts(self, n: int) -> list[int]:
        """How many of n rows each source gives, drawn from torch's current stream."""
        if len(self.sources) == 1:
            return [n]
        points = (torch.arange(n, dtype=torch.float64) + torch.rand((), dtype=torch.float64)) / n
        which = torch.searchsorted(self.bounds, points, right=True).clamp(max=len(self.sources) - 1)
        return torch.bincount(which, minlength=len(self.sources)).tolist()

    def sample(self, n: int) -> Transitions:
        """n transitions, drawn from torch's current stream."""
        return join([s.sample(count) for s, count in zip(self.sources, self.counts(n)) if count])


def join(batches: Sequence[Transitions]) -> Transitions:
    """One batch of the rows of several; an optional column stays where all have it."""
    if len(batches) == 1:
        return batches[0]
    columns: dict[str, Tensor] = {}
    for item in fields(Transitions):
        found = [getattr(b, item.name) for b in batches]
        if all(isinstance(x, Tensor) for x in found):
            columns[item.name] = torch.cat(found)
    return Transitions(**columns)


class Unpaid:
    """The rows of a data set with all rewards 0, for those who must not know them."""

    def __init__(self, data: Dataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def sample(self, n: int) -> Transitions:
        """n rows, uniformly with replacement, drawn from torch's current stream."""
        return self._without(self.data.sample(n))

    def at(self, index: Tensor) -> Transitions:
        """The given rows [n]."""
        return self._without(self.data.at(index))

    def _without(self, batch: Transitions) -> Transitions:
        return replace(batch, reward=torch.zeros_like(batch.reward))
