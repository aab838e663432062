"""actrix report FOLDER... [--out FILE]"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from actrix.cli import parse


@dataclass(frozen=True)
class Args:
    folders: tyro.conf.Positional[tuple[Path, ...]]  # run folders
    out: Path | None = None  # where to write; by default report.html in the (first) folder
    pictures: bool = True  # draw an episode of each run's policy first


def run(argv: list[str]) -> None:
    args = parse(Args, argv, "report")
    from actrix.errors import ActrixError

    if not args.folders:
        raise ActrixError("report on which run?", "actrix report FOLDER...", misuse=True)
    from actrix.evaluate.report import write_report

    if args.pictures:
        from actrix.api import draw_rollout

        for folder in args.folders:
            draw_rollout(folder)
    print(write_report(list(args.folders), args.out or args.folders[0] / "report.html"))
