"""Comparison of runs on one task: means, interquartile means, intervals, probability of improvement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actrix.errors import ActrixError
from actrix.evaluate import statistics
from actrix.evaluate.records import RunRecord, by_method, by_task, read_run
from actrix.evaluate.statistics import Array, Interval


@dataclass(frozen=True)
class Row:
    """One method: its final scores `[n]` (one per seed, or one per episode) and what they amount to.

    `better` and `gap` compare it with the first row: P(this > first) and the difference of means.
    """

    label: str
    folders: tuple[Path, ...]
    seeds: tuple[int, ...]
    steps: int
    scores: Array
    mean: Interval
    iqm: Interval
    better: Interval | None = None
    gap: Interval | None = None


@dataclass(frozen=True)
class Comparison:
    """Methods on one task.

    `unit` says what one score is: a "seed" (the mean of its final evaluation) or an "episode" of it.
    """

    task: str
    measure: str
    unit: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, complete."""
        return {
            "task": self.task,
            "measure": self.measure,
            "unit": self.unit,
            "rows": [
                {
                    "label": row.label,
                    "folders": [str(folder) for folder in row.folders],
                    "seeds": list(row.seeds),
                    "steps": row.steps,
                    "scores": row.scores.tolist(),
                    "mean": row.mean.as_dict(),
                    "iqm": row.iqm.as_dict(),
                    "probability_of_improvement": row.better.as_dict() if row.better else None,
                    "difference_of_means": row.gap.as_dict() if row.gap else None,
                }
                for row in self.rows
            ],
            "notes": list(self.notes),
        }


def compare(folders: Sequence[Path]) -> Comparison:
    """Compare the final evaluations of runs; those that differ only in their seed count as one method.

    Raises ActrixError where runs are on different tasks, or one of them has no evaluation.
    """
    return compare_runs([read_run(Path(folder)) for folder in folders])


def compare_runs(runs: Sequence[RunRecord]) -> Comparison:
    """`compare` for runs that are already read."""
    if not runs:
        raise ActrixError("there is nothing to compare", "give at least one run folder")
    tasks = by_task(runs)
    if len(tasks) > 1:
        parts = "; ".join(f"{task}: {', '.join(str(run.folder) for run in group)}" for task, group in tasks.items())
        raise ActrixError(
            f"these runs are on different tasks, so their scores do not compare ({parts})",
            "compare runs on one task at a time; `actrix report` gives every task its own section",
        )
    empty = [str(run.folder) for run in runs if not run.evaluations or not run.evaluations[-1].scores.size]
    if empty:
        raise ActrixError(
            f"no evaluation to compare in {', '.join(empty)}",
            "let the run reach its first evaluation (--eval-every), or leave it out",
        )
    groups = by_method(runs)
    unit = "seed" if all(len({run.seed for run in group}) > 1 for group in groups.values()) else "episode"
    rows: list[Row] = []
    for label, group in groups.items():
        scores = final_scores(group, unit)
        rows.append(_row(label, group, scores, rows[0].scores if rows else None))
    return Comparison(next(iter(tasks)), runs[0].measure, unit, tuple(rows), tuple(_notes(groups, unit)))


def final_scores(group: Sequence[RunRecord], unit: str) -> Array:
    """Scores of the last evaluations `[n]`: each run's mean, or all episodes of all runs."""
    last = [run.evaluations[-1] for run in group]
    if unit == "seed":
        return np.array([evaluation.mean for evaluation in last])
    return np.concatenate([evaluation.scores for evaluation in last])


def _row(label: str, group: Sequence[RunRecord], scores: Array, first: Array | None) -> Row:
    one = len(scores) == 1
    return Row(
        label=label,
        folders=tuple(run.folder for run in group),
        seeds=tuple(run.seed for run in group),
        steps=min(run.evaluations[-1].step for run in group),
        scores=scores,
        mean=statistics.interval(scores, "student" if len(scores) < 10 else "bootstrap"),
        iqm=statistics.interval(scores) if one else statistics.bootstrap(statistics.iqm, scores),
        better=None if first is None else statistics.probability_of_improvement(scores, first),
        gap=None if first is None else statistics.difference(scores, first),
    )


def _notes(groups: dict[str, list[RunRecord]], unit: str) -> list[str]:
    """What a reader must know before believing the table."""
    notes = []
    if unit == "episode":
        notes.append(
            "Some method has one seed only, so scores are single episodes: the intervals say how surely each "
            "trained policy was measured, and nothing about what another seed would have given."
        )
    elif any(len(group) < 5 for group in groups.values()):
        notes.append("Fewer than five seeds for some method: bootstrap intervals are then too narrow.")
    steps = {label: {run.evaluations[-1].step for run in group} for label, group in groups.items()}
    if len(set().union(*steps.values())) > 1:
        text = "; ".join(f"{k}: {', '.join(f'{s:,}' for s in sorted(v))}" for k, v in steps.items())
        notes.append(f"The last evaluations were made at different steps ({text}).")
    sizes = {run.evaluations[-1].scores.size for group in groups.values() for run in group}
    if len(sizes) > 1:
        notes.append(f"The evaluations have different numbers of episodes ({min(sizes)} to {max(sizes)}).")
    for label, group in groups.items():
        seeds = [run.seed for run in group]
        if len(set(seeds)) < len(seeds):
            notes.append(f"{label}: a seed occurs more than once, so those runs are not independent.")
    return notes
