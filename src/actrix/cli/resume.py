"""actrix resume FOLDER [--steps N] [--online-steps N] [--json]"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from actrix.cli import parse


@dataclass(frozen=True)
class Args:
    folder: tyro.conf.Positional[Path]  # run folder
    steps: int | None = None  # new budget; by default the run's own
    online_steps: int | None = None  # a run that learned from --data: environment steps to go on with
    json: bool = False  # print the result as one JSON document, and nothing else


def run(argv: list[str]) -> None:
    args = parse(Args, argv, "resume")
    from actrix import api
    from actrix.cli.train import print_result

    print_result(api.resume(args.folder, args.steps, quiet=args.json, online_steps=args.online_steps), args.json)
