"""Run folders, read for comparison and report: forgiving about what is missing or cut off, and saying so."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from actrix.errors import ActrixError
from actrix.evaluate.archives import Elites, read_elites
from actrix.evaluate.pictures import data_uri
from actrix.evaluate.statistics import Array, interval

Line = dict[str, Any]


@dataclass(frozen=True)
class Evaluation:
    """One evaluation during a run: `scores [episodes]`, their mean and its interval (NaN where unknown)."""

    step: int
    scores: Array
    mean: float
    low: float
    high: float
    extra: dict[str, float]


@dataclass(frozen=True)
class Shot:
    """One rollout picture as a `data:` address, with what `frames.json` says about it."""

    uri: str
    about: Line


@dataclass(frozen=True)
class RunRecord:
    """Everything a run folder holds that people want to see. `problems` says in words what was unreadable."""

    folder: Path
    config: Line
    lines: list[Line]
    timing: list[Line]
    traces: list[Line]
    shots: list[Shot]
    problems: list[str] = field(default_factory=list)
    elites: Elites | None = None  # the archive of a quality-diversity run

    @property
    def system(self) -> str:
        return str(self.config.get("system") or "unknown system")

    @property
    def seed(self) -> int:
        return int(self.config.get("seed") or 0)

    @property
    def task(self) -> str:
        """What the run was scored on: an environment id, or a language task with its level."""
        if self.config.get("task"):
            level = self.config.get("level")
            return f"{self.config['task']}" + (f" level {level}" if level is not None else "")
        return str(self.config.get("env") or "unknown task")

    @property
    def measure(self) -> str:
        """What a score is here: a return, or for language tasks a score."""
        return "score" if self.config.get("task") else "return"

    @cached_property
    def steps(self) -> int:
        """The last step that anything was written about."""
        return max((int(line["step"]) for line in [*self.lines, *self.timing]), default=0)

    @cached_property
    def evaluations(self) -> list[Evaluation]:
        """In order of steps; of two at one step (a resumed run) the later one counts."""
        found = {int(line["step"]): line for line in self.lines if line.get("kind") == "eval"}
        return [e for step in sorted(found) if (e := _evaluation(found[step])) is not None]

    def column(self, kind: str, name: str) -> tuple[Array, Array]:
        """Steps and values `[lines]` of one figure among the lines of one kind; in order of steps."""
        rows = [
            (int(row["step"]), float(row[name]))
            for row in self.lines
            if row.get("kind") == kind and _is_number(row.get(name))
        ]
        rows.sort(key=lambda row: row[0])
        table = np.array(rows, dtype=np.float64).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    def names(self, kind: str) -> list[str]:
        """Names of the figures in lines of one kind, in order of first appearance."""
        seen: dict[str, None] = {}
        for line in self.lines:
            if line.get("kind") == kind:
                seen.update({k: None for k, v in line.items() if k not in ("step", "kind") and _is_number(v)})
        return list(seen)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _evaluation(line: Line) -> Evaluation | None:
    raw = line.get("scores")
    scores = np.array([v for v in raw if _is_number(v)] if isinstance(raw, list) else [], dtype=np.float64)
    scores = scores[np.isfinite(scores)]
    mean, low, high = (float(line[k]) if _is_number(line.get(k)) else math.nan for k in ("mean", "low", "high"))
    if math.isnan(mean) and scores.size:
        mean = float(scores.mean())
    if math.isnan(low) and scores.size > 1:
        found = interval(scores, "student" if scores.size < 10 else "bootstrap", resamples=2_000)
        low, high = found.low, found.high
    if math.isnan(mean):
        return None
    known = ("step", "kind", "scores", "mean", "low", "high")
    extra = {k: float(v) for k, v in line.items() if k not in known and _is_number(v)}
    return Evaluation(int(line["step"]), scores, mean, low, high, extra)


def read_run(folder: Path) -> RunRecord:
    """Read a run folder. Raises ActrixError only where there is no run at all."""
    folder = Path(folder)
    problems: list[str] = []
    if not folder.is_dir():
        raise ActrixError(f"{folder} is not a run folder: there is no such folder", "check the path")
    config = _read_json(folder / "config.json", problems)
    lines = [line for line in read_lines(folder / "metrics.jsonl", problems) if _is_number(line.get("step"))]
    if not config and not lines:
        raise ActrixError(
            f"{folder} is not a run folder: neither config.json nor metrics.jsonl can be read in it",
            "give a folder that `actrix train` made",
        )
    timing = [line for line in read_lines(folder / "timing.jsonl", problems) if _is_number(line.get("step"))]
    traces = [
        trace
        for path in sorted((folder / "traces").glob("*.jsonl"))
        for trace in read_lines(path, problems)
        if isinstance(trace.get("tokens"), list) or isinstance(trace.get("messages"), list)
    ]
    shots, elites = _shots(folder / "rollout", problems), read_elites(folder, problems)
    return RunRecord(folder, config, lines, timing, traces, shots, problems, elites)


def read_lines(path: Path, problems: list[str]) -> list[Line]:
    """The JSON objects of a JSON-lines file; what cannot be read is left out and put into `problems`."""
    if not path.exists():
        if path.name == "metrics.jsonl":
            problems.append("metrics.jsonl is missing: there are no curves and no scores to show.")
        return []
    texts = path.read_text(encoding="utf-8", errors="replace").split("\n")
    numbered = [(i, text) for i, text in enumerate(texts, 1) if text.strip()]
    out: list[Line] = []
    for i, text in numbered:
        try:
            line = json.loads(text)
        except ValueError:
            line = None
        if isinstance(line, dict):
            out.append(line)
        elif i == numbered[-1][0]:
            problems.append(f"{path.name}: the last line was cut off while being written and is left out.")
        else:
            problems.append(f"{path.name}: line {i} is not a JSON object and is left out.")
    return out


def _read_json(path: Path, problems: list[str]) -> Line:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problems.append(f"{path.name} is missing.")
        return {}
    except (ValueError, OSError):
        problems.append(f"{path.name} cannot be read.")
        return {}
    return found if isinstance(found, dict) else {}


def _shots(folder: Path, problems: list[str]) -> list[Shot]:
    if not (folder / "frames.json").exists():
        return []
    rows = _read_json(folder / "frames.json", problems).get("frames", [])
    shots = []
    for row in rows if isinstance(rows, list) else []:
        path = folder / Path(str(row.get("file", ""))).name
        if path.suffix not in (".png", ".svg") or not path.is_file():
            problems.append(f"rollout picture {path.name} is missing.")
            continue
        image = path.read_text(encoding="utf-8") if path.suffix == ".svg" else path.read_bytes()
        shots.append(Shot(data_uri(image), row))
    return shots


def by_task(runs: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    """Runs by what they were scored on, in the order given."""
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        groups.setdefault(run.task, []).append(run)
    return groups


def by_method(runs: Iterable[RunRecord]) -> dict[str, list[RunRecord]]:
    """Runs that differ in nothing but their seed, under a label that says what sets them apart.

    The label is the system's name, with those settings that other runs of the system have differently.
    """
    runs = list(runs)
    settings = [_settings(run) for run in runs]
    groups: dict[str, list[RunRecord]] = {}
    for run, mine in zip(runs, settings, strict=True):
        others = [s for other, s in zip(runs, settings, strict=True) if other.system == run.system]
        parts = [f"{k} {v}" for k, v in mine.items() if any(s.get(k) != v for s in others)]
        groups.setdefault(", ".join([run.system, *parts]), []).append(run)
    return groups


def _settings(run: RunRecord) -> dict[str, str]:
    """What influences learning, as text: the system's fields, the budget, and how the run was executed."""
    config, how = run.config.get("config"), run.config.get("run")
    out = {k: json.dumps(v) for k, v in (config if isinstance(config, dict) else {}).items()}
    out["steps"] = f"{run.config.get('steps')}"
    chosen = how if isinstance(how, dict) else {}
    return out | {k: str(chosen[k]) for k in ("envs", "precision") if k in chosen}
