"""What a data set holds, as figures and as a page with pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actrix.data.weighting import positive_variance
from actrix.evaluate.charts import SMALL, Array, Series, histogram, line_chart
from actrix.evaluate.page import note, number, page

if TYPE_CHECKING:
    from actrix.data.datasets import Dataset

SHOWN = 24  # observation columns that get a picture


def summary(values: Array) -> dict[str, float]:
    """Mean, spread and quantiles of numbers [N]."""
    values = np.asarray(values, np.float64)
    found = dict(zip(("min", "p5", "p50", "p95", "max"), np.percentile(values, [0, 5, 50, 95, 100]).tolist()))
    return {"mean": float(values.mean()), "std": float(values.std()), **found}


def figures(dataset: Dataset) -> dict[str, Any]:
    """What `actrix data` says of a data set."""
    columns = dataset.columns
    returns, lengths = dataset.scores()
    last = columns["last"]
    terminated = int(columns["terminated"][last].sum())
    return {
        "rows": len(dataset),
        "episodes": dataset.episodes,
        "terminated": terminated,
        "truncated": dataset.episodes - terminated,
        "clipped": dataset.clipped,
        "return": summary(returns),
        "positive_variance": positive_variance(returns),
        "length": summary(lengths),
        "reward": summary(columns["reward"]),
    }


def write_page(found: dict[str, Any], dataset: Dataset, out: Path) -> Path:
    """Write the page of a data set, aside and renamed, and return its path."""
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.{os.getpid()}")
    aside.write_text(render(found, dataset), encoding="utf-8")
    aside.replace(out)
    return out


def render(found: dict[str, Any], dataset: Dataset) -> str:
    """The page as an HTML document."""
    title = Path(found["path"]).name
    returns, lengths = dataset.scores()
    rows = pictured(len(dataset))
    columns = dataset.columns
    body = [f"<header><h1>{escape(title)}</h1><div class='soft'>{escape(found['format'])}</div></header>", cards(found)]
    facts = {
        "environment": found["env"] or "not recorded",
        "observation": f"{found['obs_size']} numbers, {found['obs_dtype']}",
        "action": f"{found['action_kind']}, {found['action_size']}",
        "terminated": f"{found['terminated']:,} episodes",
        "cut off": f"{found['truncated']:,} episodes",
        "fingerprint": found["fingerprint"],
    }
    body.append("<dl>" + "".join(f"<div><dt>{k}</dt><dd>{escape(v)}</dd></div>" for k, v in facts.items()) + "</dl>")
    if found["clipped"]:
        body.append(note(f"{found['clipped']:,} actions are out of bounds, and are brought to them when learned from."))
    body.append("<h2>Episodes</h2>")
    body.append(histogram(returns, title="Returns", x_label="return of an episode", y_label="episodes"))
    order = np.arange(dataset.episodes, dtype=np.float64)
    points = Series("", order, returns, dots=dataset.episodes < 400)
    body.append(line_chart([points], title="In the order of recording", x_label="episode", y_label="return"))
    body.append(histogram(lengths, title="Lengths", x_label="steps of an episode", y_label="episodes"))
    body.append("<h2>Rewards</h2>" + histogram(columns["reward"][rows], x_label="reward of a step", y_label="steps"))
    some = "" if len(rows) == len(dataset) else f" ({len(rows):,} rows, evenly spaced)"
    body.append(f"<h2>Actions{some}</h2>" + marginals(columns["action"][rows], "action", found["action_size"]))
    shown = min(found["obs_size"], SHOWN)
    most = f": {shown} of {found['obs_size']}" if shown < found["obs_size"] else ""
    body.append(f"<h2>Observations{most}{some}</h2>" + marginals(columns["obs"][rows], "obs", shown))
    body.append("<footer>Written by actrix.</footer>")
    return page(title, "".join(body))


def cards(found: dict[str, Any]) -> str:
    told: Sequence[tuple[str, str]] = (
        (f"{found['rows']:,}", "transitions"),
        (f"{found['episodes']:,}", "episodes"),
        (number(found["return"]["mean"]), "mean return"),
        (number(found["length"]["mean"]), "mean length"),
    )
    return '<div class="cards">' + "".join(
        f'<div class="card many"><b>{value}</b><span>{name}</span></div>' for value, name in told
    ) + "</div>"  # fmt: skip


def pictured(rows: int, most: int = 100_000) -> Any:
    """Indices of at most so many rows, evenly spaced."""
    return np.arange(rows) if rows <= most else np.linspace(0, rows - 1, most).astype(np.int64)


def marginals(values: Any, name: str, columns: int) -> str:
    """A small histogram of each of the first columns."""
    drawn = (
        histogram(np.asarray(values[:, i], np.float64), title=f"{name}[{i}]", frame=SMALL, colour=int(name == "obs"))
        for i in range(columns)
    )
    return f'<div class="multiples">{"".join(drawn)}</div>'
