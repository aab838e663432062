"""The statistics against the `rliable` package, against closed forms, and on simulated data."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import types
from typing import Any

import numpy as np
import pytest
from scipy import stats

from actrix.evaluate import statistics as S


@pytest.fixture(scope="module")
def rliable() -> Any:
    """rliable's two modules. It needs only `arch.bootstrap`, so `arch`'s own `__init__` (econometric models
    that do not import beside every pandas version) is left out."""
    pytest.importorskip("rliable", reason="rliable is not installed")
    spec = importlib.util.find_spec("arch")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    if "arch" not in sys.modules:
        package = types.ModuleType("arch")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["arch"] = package
    from rliable import library, metrics

    return types.SimpleNamespace(library=library, metrics=metrics)


def scores(seed: int, runs: int = 7, tasks: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, 0.4, size=(runs, tasks))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (7, 4), (10, 26)])
def test_point_metrics_are_rliables(rliable: Any, seed: int, shape: tuple[int, int]) -> None:
    x, y = scores(seed, *shape), scores(seed + 100, shape[0] + 2, shape[1])
    m = rliable.metrics
    for ours, theirs in [
        (S.mean, m.aggregate_mean),
        (S.median, m.aggregate_median),
        (S.iqm, m.aggregate_iqm),
        (S.optimality_gap, m.aggregate_optimality_gap),
    ]:
        np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-13)
    np.testing.assert_allclose(S.improvement(x, y), m.probability_of_improvement(x, y), rtol=1e-13)
    assert S.improvement(x, x) == 0.5


def test_improvement_counts_ties_as_rliable_does(rliable: Any) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 4, (6, 3)).astype(float), rng.integers(0, 4, (9, 3)).astype(float)
    np.testing.assert_allclose(S.improvement(x, y), rliable.metrics.probability_of_improvement(x, y))


class LegacyDraws:
    """Draws run indices in exactly the order rliable does, so that both see the same resamples."""

    def __init__(self, seed: int) -> None:
        np.random.seed(seed)

    def integers(self, low: int, high: int, size: tuple[int, int, int]) -> np.ndarray:
        return np.stack([np.random.choice(high, size[1:], replace=True) for _ in range(size[0])])


@pytest.mark.parametrize("ours", [S.mean, S.median, S.iqm, S.optimality_gap])
def test_interval_equals_rliables_on_the_same_resamples(rliable: Any, ours: Any) -> None:
    theirs = getattr(rliable.metrics, f"aggregate_{ours.__name__}")
    x = scores(3)
    np.random.seed(11)
    points, intervals = rliable.library.get_interval_estimates({"x": x}, lambda s: np.array([theirs(s)]), reps=500)
    found = S.bootstrap(ours, x, resamples=500, rng=LegacyDraws(11))  # type: ignore[arg-type]
    np.testing.assert_allclose([found.value], points["x"], rtol=1e-13)
    np.testing.assert_allclose([found.low, found.high], intervals["x"][:, 0], rtol=1e-12)


def test_intervals_agree_with_rliables_on_independent_resamples(rliable: Any) -> None:
    x, y = scores(4, 8, 5), scores(5, 6, 5) + 0.1
    np.random.seed(0)
    _, one = rliable.library.get_interval_estimates(
        {"x": x}, lambda s: np.array([rliable.metrics.aggregate_iqm(s)]), reps=4000
    )
    found = S.bootstrap(S.iqm, x, resamples=20_000)
    np.testing.assert_allclose([found.low, found.high], one["x"][:, 0], atol=0.02)
    _, two = rliable.library.get_interval_estimates(
        {"x": [x, y]},
        lambda a, b: np.array([rliable.metrics.probability_of_improvement(a, b)]),
        reps=2000,
    )
    better = S.probability_of_improvement(x, y, resamples=4000)
    np.testing.assert_allclose([better.low, better.high], two["x"][:, 0], atol=0.03)


def test_performance_profile_is_rliables(rliable: Any) -> None:
    x, taus = scores(6), np.linspace(0, 3, 13)
    np.random.seed(0)
    profile, bands = rliable.library.create_performance_profile({"x": x}, taus, reps=2000)
    ours = S.performance_profile(x, taus)
    np.testing.assert_allclose(ours.value, profile["x"], rtol=1e-13)
    np.testing.assert_allclose(ours.low, bands["x"][0], atol=0.04)
    np.testing.assert_allclose(ours.high, bands["x"][1], atol=0.04)
    assert (np.diff(ours.value) <= 0).all()


def test_closed_forms() -> None:
    x = np.arange(8.0)
    assert S.mean(x) == 3.5
    assert S.iqm(x) == 3.5  # (2 + 3 + 4 + 5) / 4
    assert S.iqm([0, 0, 1, 2, 3, 4, 100, 100]) == 2.5
    assert S.median([[0.0, 1.0, 10.0], [2.0, 3.0, 20.0]]) == 2.0  # task means 1, 2, 15
    assert S.optimality_gap([0.0, 0.5, 2.0], target=1.0) == pytest.approx(0.5)
    assert S.improvement([1.0, 2.0], [0.0, 1.0]) == pytest.approx(3.5 / 4)
    np.testing.assert_allclose(S.curve([0, 1], [[1.0, 2.0], [3.0, 6.0]]).value, [2.0, 4.0])


def test_metrics_take_leading_axes() -> None:
    x = np.random.default_rng(0).normal(size=(6, 5, 4, 3))
    for metric in (S.mean, S.median, S.iqm, S.optimality_gap):
        each = [[metric(x[i, j]) for j in range(5)] for i in range(6)]
        np.testing.assert_allclose(metric(x), each)
    y = x[:, :, :2]
    each = [[S.improvement(x[i, j], y[i, j]) for j in range(5)] for i in range(6)]
    np.testing.assert_allclose(S.improvement(x, y), each)


def test_resamples_stay_within_their_task() -> None:
    x = np.arange(5)[:, None] + 100.0 * np.arange(3)
    drawn = S.resample(x, 200, S.generator(1))
    assert drawn.shape == (200, 5, 3)
    assert (drawn // 100 == np.arange(3)).all()
    assert set(np.unique(drawn)) == set(x.ravel())


def test_student_interval_is_scipys() -> None:
    x = np.random.default_rng(1).normal(size=5)
    found = S.interval(x, "student")
    low, high = stats.t.interval(0.95, 4, x.mean(), stats.sem(x))
    np.testing.assert_allclose([found.low, found.high], [low, high])


def test_bootstrap_interval_approaches_the_normal_one() -> None:
    x = np.random.default_rng(2).normal(3.0, 2.0, size=2000)
    found = S.interval(x, resamples=4000)
    half = 1.96 * x.std() / np.sqrt(len(x))
    np.testing.assert_allclose([found.low, found.high], [x.mean() - half, x.mean() + half], atol=0.012)


def test_interval_covers_as_often_as_it_says() -> None:
    rng, trials = np.random.default_rng(7), 800
    hits = {"bootstrap": 0, "student": 0, "difference": 0}
    for _ in range(trials):
        a, b = rng.normal(10.0, 3.0, 30), rng.normal(8.0, 3.0, 30)
        boot = S.interval(a, resamples=800, rng=rng)
        t = S.interval(a[:5], "student")
        gap = S.difference(a, b, resamples=800, rng=rng)
        hits["bootstrap"] += boot.low <= 10.0 <= boot.high
        hits["student"] += t.low <= 10.0 <= t.high
        hits["difference"] += gap.low <= 2.0 <= gap.high
    for name, count in hits.items():
        assert 0.92 <= count / trials <= 0.975, (name, count / trials)


def test_difference_of_identical_samples_holds_zero_and_shift_does_not() -> None:
    x = np.random.default_rng(3).normal(size=40)
    same = S.difference(x, x)
    assert same.value == 0
    assert same.low < 0 < same.high
    shifted = S.difference(x + 2.0, x, S.iqm)
    assert shifted.value == pytest.approx(2.0)
    assert shifted.low > 0


def test_same_generator_same_interval_and_none_is_seeded() -> None:
    x = scores(9)
    assert S.bootstrap(S.iqm, x) == S.bootstrap(S.iqm, x)
    assert S.bootstrap(S.iqm, x, rng=S.generator(1)) != S.bootstrap(S.iqm, x, rng=S.generator(2))


def test_edges() -> None:
    one = S.interval([4.0])
    assert one.value == 4.0
    assert np.isnan(one.low)
    assert one.as_dict()["low"] is None
    for bad in ([], [1.0, float("nan")], [float("inf")]):
        with pytest.raises(ValueError):
            S.interval(bad)
    with pytest.raises(ValueError, match="tasks"):
        S.improvement(np.ones((2, 3)), np.ones((2, 2)))


def test_statistics_imports_no_torch() -> None:
    code = "import sys, actrix.evaluate.statistics; sys.exit(bool({'torch', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
