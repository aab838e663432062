"""The parts of a report as HTML: scores, curves, comparison, filmstrip, traces, configuration."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np

from actrix.evaluate import statistics
from actrix.evaluate.charts import SMALL, Frame, Series, interval_chart, line_chart, thin, wants_log
from actrix.evaluate.compare import Comparison
from actrix.evaluate.page import NONE, bounds, note, number, places
from actrix.evaluate.records import RunRecord, Shot
from actrix.evaluate.statistics import Interval

TRACES = 6


def score_cards(groups: dict[str, list[RunRecord]]) -> str:
    """The final score of each method with its 95 % interval."""
    cards = []
    for label, group in groups.items():
        runs = [run for run in group if run.evaluations]
        if not runs:
            cards.append(f'<div class="card"><b>{NONE}</b><span>{escape(label)}: not evaluated yet</span></div>')
            continue
        found, basis = _final(runs)
        head = escape(label) + " · " if len(groups) > 1 else ""
        around = bounds(found)
        said = f"95 % interval {around}" if around != NONE else "no interval from one value"
        cards.append(
            f'<div class="card{" many" if len(groups) > 2 else ""}">'
            f"<b>{number(found.value, places(found.high - found.low))}</b>"
            f"<span>{head}mean {runs[0].measure} · {said}<br>{basis}</span></div>"
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _final(runs: Sequence[RunRecord]) -> tuple[Interval, str]:
    """Over seeds where there are several, else over the episodes of the last evaluation."""
    last = [run.evaluations[-1] for run in runs]
    if len(runs) > 1:
        means = np.array([e.mean for e in last])
        method = statistics.interval(means, "student" if len(means) < 10 else "bootstrap")
        return method, f"{len(runs)} seeds, step {last[0].step:,}"
    e, count = last[0], last[0].scores.size
    episodes = f"{count} episode{'s' * (count != 1)}, " if count else ""
    return Interval(e.mean, e.low, e.high, count), f"{episodes}step {e.step:,}"


def learning_curves(groups: dict[str, list[RunRecord]]) -> str:
    """Evaluation scores against steps: a mean with its interval for one run, an IQM for several seeds."""
    lines: list[Series] = []
    for i, (label, group) in enumerate(groups.items()):
        runs = [run for run in group if run.evaluations]
        if len(runs) > 1:
            lines.extend(_seed_curves(label, runs, i))
        elif runs:
            e = runs[0].evaluations
            x, y, low, high = (np.array([getattr(v, k) for v in e], float) for k in ("step", "mean", "low", "high"))
            lines.append(Series(label, x, y, low, high, colour=i, dots=True))
    if not lines:
        return note("No evaluation has been written yet, so there is no learning curve.")
    only = next(iter(groups.values()))
    if len(groups) == 1 and len(only) == 1:
        x, y = only[0].column("episode", "return")
        if len(x) > 1:
            x, y, _, _ = thin(x, y, 120)
            lines = [
                Series("training episodes (averaged in bins)", x, y, colour=5, faint=True),
                Series("evaluation mean, 95 % interval", *_parts(lines[0]), colour=0, dots=True),
            ]
    measure = only[0].measure
    return line_chart(lines, x_label="environment steps" if measure == "return" else "steps", y_label=measure)


def _parts(s: Series) -> tuple[Any, Any, Any, Any]:
    return s.x, s.y, s.low, s.high


def _seed_curves(label: str, runs: Sequence[RunRecord], colour: int) -> list[Series]:
    """The IQM over seeds at the steps all of them were evaluated at, and each seed as a faint line."""
    tables = [{e.step: e.mean for e in run.evaluations} for run in runs]
    shared = sorted(set.intersection(*(set(t) for t in tables)))
    faint = [
        Series("", np.array(list(t), float), np.array(list(t.values())), colour=colour, faint=True) for t in tables
    ]
    if not shared:
        return faint
    band = statistics.curve(shared, [[t[s] for s in shared] for t in tables])
    name = f"{label}: IQM of {len(runs)} seeds, 95 % band"
    return [*faint, Series(name, band.at, band.value, band.low, band.high, colour, dots=True)]


def extra_scores(runs: Sequence[RunRecord]) -> str:
    """Whatever else the evaluations report (pass@k, success rates), one small chart each, runs overlaid."""
    names = dict.fromkeys(k for run in runs for e in run.evaluations for k in e.extra)
    charts = []
    for name in names:
        lines = []
        for i, run in enumerate(runs):
            found = [(e.step, e.extra[name]) for e in run.evaluations if name in e.extra]
            table = np.array(found, float).reshape(-1, 2)
            label = f"seed {run.seed}" if len(runs) > 1 else ""
            lines.append(Series(label, table[:, 0], table[:, 1], colour=i, dots=True))
        share = all(((s.y >= 0) & (s.y <= 1)).all() for s in lines)
        charts.append(line_chart(lines, title=name, frame=SMALL, y_range=(0.0, 1.0) if share else None))
    return f'<div class="multiples">{"".join(charts)}</div>' if charts else ""


def comparison(found: Comparison) -> str:
    """Table, intervals and performance profiles of several methods."""
    first = found.rows[0].label
    widths = [r.mean.high - r.mean.low for r in found.rows if math.isfinite(r.mean.high)]
    d = places(min(widths)) if widths else 2
    many = len(found.rows) > 1
    heads = ["mean", "95 % interval", "IQM", "95 % interval", "n"]
    heads += ["difference of means", "95 % interval", "P(better)", "95 % interval"] if many else []
    rows = []
    for r in found.rows:
        cells = [number(r.mean.value, d), bounds(r.mean, d), number(r.iqm.value, d), bounds(r.iqm, d)]
        cells.append(str(len(r.scores)))
        if many:
            cells += [number(r.gap.value, d), bounds(r.gap, d)] if r.gap else ["reference", ""]
            cells += [number(r.better.value, 2), bounds(r.better, 2)] if r.better else ["", ""]
        rows.append(f"<tr><td>{escape(r.label)}</td>" + "".join(f'<td class="num">{c}</td>' for c in cells))
    head = "".join(f'<th class="num">{h}</th>' for h in heads)
    forest = interval_chart(
        [(r.label, r.mean.value, r.mean.low, r.mean.high) for r in found.rows],
        title="Mean with 95 % interval",
        x_label=f"final {found.measure}, one value per {found.unit}",
    )
    explained = (
        f"Difference and P(better) are against {first}. P(better) is the chance that a random {found.unit} "
        f"of the row scores higher than one of {first}; 0.5 means no difference."
        if many
        else ""
    )
    return (
        "".join(note(n) for n in found.notes)
        + f'<div class="scroll"><table class="comparison"><tr><th>method</th>{head}</tr>{"</tr>".join(rows)}'
        + f'</tr></table></div><p class="soft">{escape(explained)}</p>{forest}{_profiles(found)}'
    )


def _profiles(found: Comparison) -> str:
    """The share of seeds or episodes that score above each threshold, with bands."""
    if min(len(row.scores) for row in found.rows) < 3:
        return ""
    everything = np.concatenate([row.scores for row in found.rows])
    taus = np.linspace(everything.min(), everything.max(), 80)
    lines = []
    for i, row in enumerate(found.rows):
        band = statistics.performance_profile(row.scores, taus)
        lines.append(Series(row.label, taus, band.value, band.low, band.high, colour=i))
    unit, what = found.unit, found.measure
    return line_chart(
        lines,
        title="Performance profile",
        x_label=f"{what} τ",
        y_label=f"share of {unit}s above τ",
        frame=Frame(height=300),
        y_range=(0.0, 1.0),
        from_zero=False,
    )


def losses(run: RunRecord) -> str:
    """Every training figure as a small chart; the shade spans each bin's lowest and highest value."""
    charts = []
    for name in run.names("train"):
        x, y = run.column("train", name)
        log = wants_log(y)
        xs, ys, low, high = thin(x, y, 160)
        title = name + (" (log scale)" if log else "")
        charts.append(line_chart([Series("", xs, ys, low, high)], title=title, frame=SMALL, log=log))
    return f'<div class="multiples">{"".join(charts)}</div>' if charts else ""


def speed(run: RunRecord) -> str:
    """Steps per second over the run, and how long it took."""
    rows = [(float(r["step"]), r.get("steps_per_second"), r.get("seconds")) for r in run.timing]
    table = np.array([[a, b, c] for a, b, c in rows if _numeric(b) and _numeric(c)], float).reshape(-1, 3)
    if not len(table):
        return ""
    took, middle = table[-1, 2], float(np.median(table[:, 1]))
    text = f"<p>{number(middle)} steps per second (median), {duration(took)} in all.</p>"
    if len(table) < 3:
        return text
    xs, ys, low, high = thin(table[:, 0], table[:, 1], 160)
    high_end = float(np.nanmax(table[:, 1])) * 1.08
    return text + line_chart(
        [Series("", xs, ys, low, high, colour=2)],
        x_label="steps",
        y_label="steps / second",
        frame=Frame(height=220, ticks=5),
        y_range=(0.0, high_end) if math.isfinite(high_end) and high_end > 0 else None,
    )


def _numeric(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def duration(seconds: float) -> str:
    """Seconds as `42 s`, `3 min 20 s` or `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def film(shots: Sequence[Shot]) -> str:
    """Rollout pictures side by side, with time, place and return so far."""
    figures = []
    for i, shot in enumerate(shots):
        a, parts = shot.about, []
        if _numeric(a.get("seconds")):
            parts.append(f"{number(float(a['seconds']), 1)} s")
        parts.append(f"step {int(a['step']):,}" if _numeric(a.get("step")) else f"picture {i + 1}")
        if _numeric(a.get("place")):
            parts.append(f"at {number(float(a['place']), 1)} m")
        if _numeric(a.get("return")):
            parts.append(f"return {number(float(a['return']), 1)}")
        caption = "".join(f"<span>{p}</span>" for p in parts)
        figures.append(
            f'<figure><img src="{shot.uri}" alt="rollout, {escape(parts[0])}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    if not figures:
        return ""
    return f'<div class="film{" one" if len(figures) == 1 else ""}">{"".join(figures)}</div>'


def settings_table(values: dict[str, Any]) -> str:
    """Names and values in two columns where there is room; nested values as JSON."""
    rows = "".join(
        f'<tr><td>{escape(str(k))}</td><td class="value">{escape(_shown(v))}</td></tr>' for k, v in values.items()
    )
    return f'<div class="scroll"><table class="settings">{rows}</table></div>' if rows else ""


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
