"""actrix compare FOLDER... [--json]"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from actrix.cli import emit, parse, table
from actrix.errors import ActrixError

if TYPE_CHECKING:
    from actrix.evaluate.statistics import Interval


@dataclass(frozen=True)
class Args:
    folders: tyro.conf.Positional[tuple[Path, ...]]  # run folders; several seeds of one system are pooled
    json: bool = False  # print one JSON document, and nothing else


def run(argv: list[str]) -> None:
    args = parse(Args, argv, "compare")
    if not args.folders:
        raise ActrixError("compare which runs?", "actrix compare FOLDER...", misuse=True)
    from actrix.evaluate.compare import compare

    comparison = compare(list(args.folders))
    if args.json:
        emit(comparison.as_dict())
        return
    print(f"{comparison.task}: {comparison.measure}, one score per {comparison.unit}\n")
    rows = [["", "scores", "mean", "95 % interval", "IQM", "95 % interval", "P(better than first)"]]
    for row in comparison.rows:
        better = "" if row.better is None else f"{row.better.value:.2f} [{row.better.low:.2f}, {row.better.high:.2f}]"
        rows.append([row.label, str(len(row.scores)), *both(row.mean), *both(row.iqm), better])
    print(table(rows, right=(1, 2, 3, 4, 5, 6)))
    for note in comparison.notes:
        print(f"note: {note}")


def both(interval: Interval) -> tuple[str, str]:
    return f"{interval.value:,.2f}", f"[{interval.low:,.2f}, {interval.high:,.2f}]"
