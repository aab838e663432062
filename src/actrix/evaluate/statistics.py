"""Statistics of evaluation scores: point metrics, stratified bootstrap intervals, comparisons.

Scores are matrices `[runs, tasks]`: one row per independent run (seed), one column per task; a vector
`[runs]` is one task. Metrics also take leading axes, `[..., runs, tasks] -> [...]`, which is how the
bootstrap evaluates them on all resamples at once. Draws come from the generator that is passed, or a fixed one.

Source: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice"
(arXiv 2108.13264) and its package `rliable`, against which the tests check these functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Metric = Callable[[Array], Array]
"""`[..., runs, tasks] -> [...]`."""

LEVEL = 0.95
RESAMPLES = 10_000
_CHUNK = 4_000_000  # numbers held at once while resampling


@dataclass(frozen=True)
class Interval:
    """A point estimate with its confidence interval; `n` independent values went into it.

    `low` and `high` are NaN where one value gives no interval.
    """

    value: float
    low: float
    high: float
    n: int
    level: float = LEVEL
    method: str = "bootstrap"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready; NaN becomes None."""
        return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in asdict(self).items()}


@dataclass(frozen=True)
class Band:
    """Estimates along an axis, each with its own (pointwise) interval; all arrays are `[points]`."""

    at: Array
    value: Array
    low: Array
    high: Array
    level: float = LEVEL


def generator(seed: int = 0) -> np.random.Generator:
    """The NumPy generator for a seed: the one that all functions here use when none is passed."""
    return np.random.Generator(np.random.PCG64(seed))


def matrix(scores: npt.ArrayLike) -> Array:
    """`[runs]` or `[..., runs, tasks]` as float64 with at least two axes.

    Raises ValueError for an empty array and for NaN or infinite scores: a missing run is not a zero.
    """
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim < 2 or array.size == 0:
        raise ValueError(f"scores must be [runs] or [runs, tasks] and not empty, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("scores contain NaN or infinite values")
    return array


# --- point metrics: [..., runs, tasks] -> [...] ---------------------------------------------------------


def mean(scores: npt.ArrayLike) -> Array:
    """Mean over runs, then over tasks."""
    return np.asarray(matrix(scores).mean(axis=-2).mean(axis=-1))


def median(scores: npt.ArrayLike) -> Array:
    """Median over tasks of the tasks' means over runs."""
    return np.asarray(np.median(matrix(scores).mean(axis=-2), axis=-1))


def iqm(scores: npt.ArrayLike) -> Array:
    """Interquartile mean: the mean of the middle half of all runs of all tasks together.

    `floor(n / 4)` scores are dropped at either end, so below four scores this is the mean.
    """
    array = matrix(scores)
    flat = np.sort(array.reshape(*array.shape[:-2], -1), axis=-1)
    n = flat.shape[-1]
    return np.asarray(flat[..., n // 4 : n - n // 4].mean(axis=-1))


def optimality_gap(scores: npt.ArrayLike, target: float = 1.0) -> Array:
    """How far scores fall short of `target` on average; what exceeds `target` counts as `target`."""
    return np.asarray(target - np.minimum(matrix(scores), target).mean(axis=(-2, -1)))


def improvement(x: npt.ArrayLike, y: npt.ArrayLike) -> Array:
    """P(X > Y) for a random run of each on a random task; ties count one half.

    `x [..., runs_x, tasks]`, `y [..., runs_y, tasks]` -> `[...]`. It is the Mann-Whitney U statistic
    divided by the number of pairs, averaged over tasks.
    """
    a, b = matrix(x), matrix(y)
    if a.shape[-1] != b.shape[-1]:
        raise ValueError(f"different numbers of tasks: {a.shape[-1]} and {b.shape[-1]}")
    gap = a[..., :, None, :] - b[..., None, :, :]
    return np.asarray(((gap > 0) + 0.5 * (gap == 0)).mean(axis=(-3, -2)).mean(axis=-1))


# --- bootstrap ------------------------------------------------------------------------------------------


def resample(scores: Array, resamples: int, rng: np.random.Generator) -> Array:
    """`[runs, tasks] -> [resamples, runs, tasks]`: runs drawn with replacement within each task.

    Tasks are the strata. The draw is independent from task to task, since runs of different tasks share
    nothing but a number.
    """
    runs, tasks = scores.shape
    index = rng.integers(0, runs, size=(resamples, runs, tasks))
    return np.asarray(scores[index, np.arange(tasks)])


def bootstrap(
    statistic: Callable[..., Array],
    *samples: npt.ArrayLike,
    resamples: int = RESAMPLES,
    rng: np.random.Generator | None = None,
) -> Interval:
    """Percentile interval of `statistic(*samples)` under the stratified bootstrap.

    Each sample is `[runs, tasks]` (or `[runs]`), may have its own number of runs, and is resampled
    independently of the others. `statistic` takes them with a leading resample axis.
    """
    rng = rng or generator()
    arrays = [matrix(sample) for sample in samples]
    width = sum(a.size for a in arrays) * (1 if len(arrays) == 1 else max(len(a) for a in arrays))
    step = max(1, _CHUNK // width)
    values = [
        statistic(*(resample(a, min(step, resamples - start), rng) for a in arrays))
        for start in range(0, resamples, step)
    ]
    low, high = percentiles(np.concatenate(values))
    n = min(len(a) for a in arrays)
    return Interval(float(statistic(*arrays)), float(low), float(high), n)


def percentiles(values: Array) -> tuple[Array, Array]:
    """The central interval holding `LEVEL` of bootstrap values `[resamples, ...]` -> two `[...]`."""
    tail = 50.0 * (1.0 - LEVEL)
    low, high = np.percentile(values, [tail, 100.0 - tail], axis=0)
    return np.asarray(low), np.asarray(high)


def interval(
    values: npt.ArrayLike,
    method: Literal["bootstrap", "student"] = "bootstrap",
    *,
    resamples: int = RESAMPLES,
    rng: np.random.Generator | None = None,
) -> Interval:
    """Mean of one set of returns `[n]` with its interval.

    `bootstrap` assumes no distribution but is too narrow when n is tiny; `student` (t interval, for about
    normal values) keeps its coverage down to n = 2. One value has no interval: low and high are NaN.
    """
    sample = matrix(np.ravel(np.asarray(values, dtype=np.float64)))[:, 0]
    n, centre = len(sample), float(sample.mean())
    if n == 1:
        return Interval(centre, float("nan"), float("nan"), 1, method=method)
    if method == "student":
        from scipy.special import stdtrit

        half = float(stdtrit(n - 1, 0.5 + LEVEL / 2)) * float(sample.std(ddof=1)) / n**0.5
        return Interval(centre, centre - half, centre + half, n, method=method)
    return bootstrap(mean, sample, resamples=resamples, rng=rng)


def difference(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    metric: Metric = mean,
    *,
    resamples: int = RESAMPLES,
    rng: np.random.Generator | None = None,
) -> Interval:
    """`metric(a) - metric(b)` with its interval; `a [runs_a, tasks]`, `b [runs_b, tasks]` (or vectors).

    Where the interval excludes 0 the two differ at this level.
    """
    return bootstrap(lambda x, y: metric(x) - metric(y), a, b, resamples=resamples, rng=rng)


def probability_of_improvement(x: npt.ArrayLike, y: npt.ArrayLike, resamples: int = 2_000) -> Interval:
    """`improvement(x, y)` with its interval: how likely a run of X beats a run of Y."""
    return bootstrap(improvement, x, y, resamples=resamples)


def performance_profile(scores: npt.ArrayLike, thresholds: npt.ArrayLike) -> Band:
    """The fraction of runs scoring above each threshold `[points]`, with pointwise bands.

    This is the run-score distribution of the source: every run of every task counts once.
    """
    array, at = matrix(scores), np.asarray(thresholds, dtype=np.float64)
    drawn = resample(array, 2_000, generator())
    value = np.array([(array > tau).mean() for tau in at])
    # [resamples] per threshold, one threshold at a time: memory does not grow with their number
    edges = [percentiles((drawn > tau).mean(axis=(-2, -1))) for tau in at]
    return Band(at, value, np.array([e[0] for e in edges]), np.array([e[1] for e in edges]))


def curve(at: npt.ArrayLike, scores: npt.ArrayLike, metric: Metric = iqm) -> Band:
    """A learning curve over seeds: `scores [runs, points]` at steps `at [points]`, pointwise bands.

    One run has no band: low and high equal the curve.
    """
    points, rng = matrix(scores), generator()
    value = np.array([float(metric(points[:, i])) for i in range(points.shape[1])])
    if len(points) == 1:
        return Band(np.asarray(at, dtype=np.float64), value, value.copy(), value.copy())
    found = [bootstrap(metric, points[:, i], resamples=2_000, rng=rng) for i in range(points.shape[1])]
    low, high = np.array([f.low for f in found]), np.array([f.high for f in found])
    return Band(np.asarray(at, dtype=np.float64), value, low, high)
