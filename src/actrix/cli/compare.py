"""actrix compare FOLDER... [--json]"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from actrix.cli import emit, parse


@dataclass(frozen=True)
class Args:
    folders: tyro.conf.Positional[tuple[Path, ...]]  # run folders; several seeds of one system are pooled
    json: bool = False  # print one JSON document, and nothing else


def run(argv: list[str]) -> None:
    args = parse(Args, argv, "compare")
    from actrix.evaluate.compare import compare

    comparison = compare(list(args.folders))
    if args.json:
        emit(comparison.to_json())
    else:
        print(comparison.table())
