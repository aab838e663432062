"""Which of several candidates to keep: one function for every best-of-N method."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Literal, TypeVar

from actrix.errors import ActrixError

T = TypeVar("T", bound=Hashable)
Mode = Literal["best", "vote", "weighted", "first"]


def select(candidates: Sequence[T], scores: Sequence[float | None] | None = None, mode: Mode = "best") -> int:
    """The index of the candidate to keep. Ties go to the one that came first.

    best      the highest score; a score of None (no verdict) is never the highest, nor a zero
    vote      the one that most candidates equal (self-consistency, Wang et al., 2203.11171)
    weighted  the one whose equals have the highest sum of scores; None adds nothing (Li et al., 2206.02336)
    first     the first one: plain sampling, whatever the scores
    """
    if not candidates:
        raise ActrixError("there is no candidate to select from")
    if scores is not None and len(scores) != len(candidates):
        raise ActrixError(f"{len(scores)} scores for {len(candidates)} candidates")
    if mode == "first":
        return 0
    if mode == "vote":
        scores = [1.0] * len(candidates)
    if scores is None:
        raise ActrixError(f"selection by {mode!r} needs scores")
    if mode == "best":
        worth = [-math.inf if s is None or math.isnan(s) else s for s in scores]
    else:
        total: dict[T, float] = {}
        for candidate, score in zip(candidates, scores):
            total[candidate] = total.get(candidate, 0.0) + (score or 0.0)
        worth = [total[candidate] for candidate in candidates]
    return max(range(len(worth)), key=lambda i: (worth[i], -i))


def agreement(ballots: Sequence[Sequence[Hashable]]) -> list[int]:
    """How often each candidate says what most candidates say; a ballot is what each says to one question."""
    counts = [0] * len(ballots[0])
    for said in ballots:
        winner = said[select(said, mode="vote")]
        counts = [count + (one == winner) for count, one in zip(counts, said)]
    return counts
