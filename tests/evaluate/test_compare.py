"""Comparison: what is grouped, what is refused, and what the reader is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from actrix.errors import ActrixError
from actrix.evaluate import statistics
from actrix.evaluate.compare import compare
from actrix.evaluate.records import read_run


def test_seeds_are_pooled_and_methods_compared(make_run) -> None:  # type: ignore[no-untyped-def]
    sac = [make_run(f"sac{s}", seed=s) for s in range(5)]
    td3 = [make_run(f"td3{s}", system="td3", seed=s, level=4000.0) for s in range(5)]
    found = compare([*sac, *td3])
    assert [row.label for row in found.rows] == ["sac", "td3"]
    assert found.unit == "seed"
    assert found.task == "HalfCheetah-v5"
    first, second = found.rows
    np.testing.assert_allclose(first.scores, [read_run(f).evaluations[-1].mean for f in sac])
    assert first.mean.value == pytest.approx(first.scores.mean())
    assert first.iqm.value == pytest.approx(float(statistics.iqm(first.scores)))
    assert first.better is None
    assert second.better is not None
    assert second.better.value == 0.0
    assert second.gap is not None
    assert second.gap.high < 0
    assert json.loads(json.dumps(found.as_dict()))["rows"][1]["label"] == "td3"


def test_runs_on_different_tasks_are_refused(make_run) -> None:  # type: ignore[no-untyped-def]
    a, b = make_run("a"), make_run("b", env="Hopper-v5")
    with pytest.raises(ActrixError) as error:
        compare([a, b])
    text = error.value.message
    assert "different tasks" in text
    for name in ("HalfCheetah-v5", "Hopper-v5", str(a), str(b)):
        assert name in text
    assert error.value.hint


def test_levels_of_a_task_are_different_tasks(make_run) -> None:  # type: ignore[no-untyped-def]
    a = make_run("a", system="grpo", env=None, task="countdown")
    b = make_run("b", system="grpo", env=None, task="countdown")
    config = json.loads((b / "config.json").read_text())
    (b / "config.json").write_text(json.dumps(config | {"level": 2}))
    with pytest.raises(ActrixError, match="countdown level 2"):
        compare([a, b])


def test_single_seeds_are_compared_by_episode_and_the_reader_is_told(make_run) -> None:  # type: ignore[no-untyped-def]
    found = compare([make_run("a"), make_run("b", config={"learning_rate": 1e-3}, seed=1, episodes=20)])
    assert found.unit == "episode"
    assert [row.label for row in found.rows] == ["sac, learning_rate 0.0003", "sac, learning_rate 0.001"]
    assert [len(row.scores) for row in found.rows] == [10, 20]
    notes = " ".join(found.notes)
    assert "one seed" in notes
    assert "numbers of episodes" in notes


def test_unequal_budgets_and_repeated_seeds_are_told(make_run) -> None:  # type: ignore[no-untyped-def]
    found = compare([make_run("a"), make_run("a2"), make_run("b", system="td3", steps=50_000)])
    notes = " ".join(found.notes)
    assert "different steps" in notes
    assert "more than once" in notes


def test_runs_without_evaluation_are_named(make_run) -> None:  # type: ignore[no-untyped-def]
    a, b = make_run("a"), make_run("b", system="td3")
    lines = [x for x in (b / "metrics.jsonl").read_text().splitlines() if '"eval"' not in x]
    (b / "metrics.jsonl").write_text("\n".join(lines))
    with pytest.raises(ActrixError, match="no evaluation") as error:
        compare([a, b])
    assert str(b) in error.value.message


def test_nothing_and_no_run(tmp_path: Path) -> None:
    with pytest.raises(ActrixError):
        compare([])
    with pytest.raises(ActrixError, match="not a run folder"):
        compare([tmp_path])
    with pytest.raises(ActrixError, match="no such folder"):
        compare([tmp_path / "nowhere"])
