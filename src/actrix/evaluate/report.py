"""The report of one or several runs: one HTML file that needs nothing else, not even a network."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from actrix.errors import ActrixError
from actrix.evaluate import sections
from actrix.evaluate.archives import cell_map
from actrix.evaluate.compare import compare_runs
from actrix.evaluate.page import note, page
from actrix.evaluate.records import RunRecord, by_method, by_task, read_run
from actrix.evaluate.traces import traces


def write_report(folders: Sequence[Path], out: Path) -> Path:
    """Write the report of the runs in `folders` and return its path.

    out: the file, or a folder in which it becomes `report.html`. It is written aside and renamed.

    Runs on one task are overlaid and compared; runs on different tasks get sections of their own. Raises
    ActrixError where a folder holds no run; whatever else is missing or damaged is said on the page.
    """
    if not folders:
        raise ActrixError("there is no run to report on", "give at least one run folder")
    out = Path(out)
    target = out if out.suffix in (".html", ".htm") else out / "report.html"
    text = render([read_run(Path(folder)) for folder in folders])
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(target)
    return target


def render(runs: Sequence[RunRecord]) -> str:
    """The report as an HTML document."""
    tasks = by_task(runs)
    title = _title(runs, tasks)
    body = [f"<header><h1>{escape(title)}</h1>{_subtitle(runs)}</header>"]
    for task, group in tasks.items():
        body.append(_task(task, group, alone=len(tasks) == 1))
    version = runs[0].config.get("versions")
    made = version.get("actrix", "") if isinstance(version, dict) else ""
    body.append(f"<footer>Written by actrix {escape(str(made))}. Intervals are at 95 %.</footer>")
    return page(title, "".join(body))


def _title(runs: Sequence[RunRecord], tasks: dict[str, list[RunRecord]]) -> str:
    systems = list(dict.fromkeys(run.system for run in runs))
    names = ", ".join(systems) if len(systems) < 4 else f"{len(systems)} systems"
    return f"{names} on {next(iter(tasks))}" if len(tasks) == 1 else f"{names} on {len(tasks)} tasks"


def _subtitle(runs: Sequence[RunRecord]) -> str:
    if len(runs) == 1:
        created = str(runs[0].config.get("created") or "")
        return f'<div class="soft">{escape(created[:16].replace("T", " "))}</div>' if created else ""
    return f'<div class="soft">{len(runs)} runs</div>'


def _task(task: str, runs: Sequence[RunRecord], alone: bool) -> str:
    """All runs on one task: scores, curves, comparison, then every run by itself."""
    groups = by_method(runs)
    out = [] if alone else [f"<h2>{escape(task)}</h2>"]
    level = "h2" if alone else "h3"
    out.append(sections.score_cards(groups))
    if len(runs) == 1:
        out.append(_facts(runs[0]))
    out.append(f"<{level}>Learning curve</{level}>{sections.learning_curves(groups)}")
    out.append(sections.extra_scores(runs))
    if len(groups) > 1:
        out.append(f"<{level}>Comparison</{level}>")
        try:
            out.append(sections.comparison(compare_runs(runs)))
        except ActrixError as error:
            out.append(note(error.message))
    if len(runs) == 1:
        out.append(_run(runs[0], level))
        return "".join(out)
    out.append(f"<{level}>Runs</{level}>")
    for run in runs:
        head = f"{escape(run.system)} <span>seed {run.seed} · {escape(run.folder.name)}</span>"
        opened = " open" if len(runs) == 2 else ""
        out.append(f"<details{opened}><summary>{head}</summary>{_facts(run)}{_run(run, 'h3')}</details>")
    return "".join(out)


def _facts(run: RunRecord) -> str:
    """What ran, in what, for how long, and the command that makes it again."""
    config, asked = run.config, run.config.get("steps")
    steps = f"{run.steps:,}" + (f" of {asked:,}" if isinstance(asked, int) and asked != run.steps else "")
    facts: dict[str, Any] = {
        "system": run.system,
        "environment" if run.measure == "return" else "task": run.task,
        "seed": run.seed,
        "steps": steps,
    }
    if run.timing and isinstance(run.timing[-1].get("seconds"), int | float):
        facts["time"] = sections.duration(float(run.timing[-1]["seconds"]))
    versions = config.get("versions")
    facts |= {str(k): v for k, v in versions.items()} if isinstance(versions, dict) else {}
    rows = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(str(v))}</dd></div>" for k, v in facts.items())
    return f"<dl>{rows}</dl><pre>{escape(command(run))}</pre>" + "".join(note(p) for p in run.problems)


def command(run: RunRecord) -> str:
    """The command that made the run: as recorded, else put together from what the run folder knows."""
    config = run.config
    if isinstance(config.get("command"), str):
        return str(config["command"])
    words = ["actrix", "train", run.system]
    for flag in ("env", "task", "level", "steps", "seed"):
        value = config.get(flag)
        if value is not None and not (flag == "level" and not config.get("task")):
            words += [f"--{flag}", str(value)]
    return shlex.join(words)


def _run(run: RunRecord, level: str) -> str:
    """What belongs to one run alone; parts without data are left out."""
    config = run.config
    own, how = config.get("config"), config.get("run")
    parts = {
        "Rollout": sections.film(run.shots),
        "Traces": traces(run.traces),
        "Archive": "" if run.elites is None else cell_map(run.elites),
        "Training": sections.losses(run),
        "Speed": sections.speed(run),
        "Configuration": sections.settings_table(own if isinstance(own, dict) else {}),
        "Execution": sections.settings_table(how if isinstance(how, dict) else {}),
    }
    return "".join(f"<{level}>{name}</{level}>{html}" for name, html in parts.items() if html)
