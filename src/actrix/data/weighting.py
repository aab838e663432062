"""Data sets whose good episodes are drawn more often than the others: trajectory weighting.

A method that stays near what was done learns from who did it, and most of that may have been bad. Drawn with these
chances, the same rows are a data set of a better player; whatever learns from it need not know. Nothing is corrected
for afterwards.

    evenly     every row is as likely as any other
    return     chance of a row ~ exp(g / alpha), g in [0, 1] the return of its episode: (G - min G) / (max G - min G)
    advantage  the same of G - V(s_0), V the linear regression of G on the first observation: not the luck of a start
    top        only rows of the best episodes, which together hold a share alpha of the rows, at least one; evenly

Rows of one episode are equally likely, so a long episode is drawn as often as several short ones of its return (as in
the authors' code). Returns are not discounted.
Source: Hong et al. 2023, Harnessing Mixed Offline Reinforcement Learning Datasets via Trajectory Weighting
(2306.13085).
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from actrix.data.batches import Transitions
from actrix.data.datasets import Dataset
from actrix.errors import ActrixError

Array = npt.NDArray[np.float64]
WAYS = ("evenly", "return", "advantage", "top")


class Rows(Protocol):
    """What can be drawn from: a data set, or its chunks."""

    def __len__(self) -> int: ...

    def sample(self, n: int) -> Transitions: ...

    def at(self, index: Tensor) -> Transitions: ...


class Weighted:
    """Rows drawn with these chances [N] (any positive scale), instead of evenly."""

    def __init__(self, source: Rows, chance: Array) -> None:
        assert len(chance) == len(source)
        self.source = source
        self.bounds = torch.from_numpy(chance / chance.sum()).cumsum(0)

    def __len__(self) -> int:
        return len(self.source)

    def sample(self, n: int) -> Transitions:
        """n rows with replacement, drawn from torch's current stream."""
        points = torch.rand(n, dtype=torch.float64) * self.bounds[-1]
        return self.source.at(torch.searchsorted(self.bounds, points, right=True).clamp(max=len(self) - 1))


def chances(data: Dataset, way: str, alpha: float) -> Array:
    """The chance of every row of a data set, one of `WAYS`: [N], which sum to 1."""
    score, length = data.scores()
    if way == "advantage":
        score = score - expected(data, score)
    weight = shares(score, length, alpha) if way == "top" else softmax(score, alpha if way != "evenly" else np.inf)
    rows = np.repeat(weight, length)
    return np.asarray(rows / rows.sum())


def softmax(score: Array, alpha: float) -> Array:
    """exp(score / alpha) [E] of scores that are brought to [0, 1]; 1 where they are all equal."""
    low, high = score.min(), score.max()
    return np.ones(len(score)) if low == high else np.exp(((score - low) / (high - low) - 1.0) / alpha)


def shares(score: Array, length: npt.NDArray[np.int64], share: float) -> Array:
    """1 for the best episodes [E], until they hold such a share of all rows; 0 for the others."""
    order = np.argsort(-score, kind="stable")
    before = np.cumsum(length[order]) - length[order]
    found = np.zeros(len(score))
    found[order[before < share * length.sum()]] = 1.0
    return found


def expected(data: Dataset, score: Array) -> Array:
    """What the first observations say of the scores [E], by linear regression: [E]."""
    first = np.asarray(data.columns["obs"][data.starts[:-1]], np.float64)
    if len(score) <= first.shape[1] + 1:
        raise ActrixError(
            f"the advantages of {len(score):,} episodes are not known: a linear function of their first observations "
            f"({first.shape[1]:,} numbers) gives any returns exactly",
            "weigh them by return (--weigh return), or record more of them",
            misuse=True,
        )
    rows = np.concatenate((first, np.ones((len(first), 1))), 1)
    return np.asarray(rows @ np.linalg.lstsq(rows, score, rcond=None)[0])


def positive_variance(returns: Array) -> float:
    """Mean of max(G - mean G, 0)^2 over episodes [E]: how much better than average some are. Where it is small, there
    is little to be had from weighting (section 4 of the paper, positive-sided variance)."""
    return float(np.square(np.maximum(returns - returns.mean(), 0.0)).mean())


def counted(chance: Array, data: Dataset) -> float:
    """How many equally likely episodes are as varied: 1 / sum of squares of the chances of episodes."""
    each = np.add.reduceat(chance, data.starts[:-1])
    return float(1.0 / np.square(each).sum())
