"""actrix export FOLDER --out FILE.onnx|FILE.c [--json]"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from actrix.cli import emit, parse


@dataclass(frozen=True)
class Args:
    folder: tyro.conf.Positional[Path]  # run folder
    out: Path  # the file to write: its name ends in .onnx, or in .c for one C file without dependencies
    json: bool = False  # print one JSON document, and nothing else


def run(argv: list[str]) -> None:
    args = parse(Args, argv, "export")
    if args.out.suffix == ".c":
        from actrix.deploy.c import export
    else:
        from actrix.deploy.onnx import export

    result = export(args.folder, args.out)
    if args.json:
        emit(result)
    else:
        print(f"{result['file']}  ({result['bytes']:,} bytes)")
        if result["checked"]:
            print(f"checked on {result['checked']:,} observations: largest difference {result['difference']:.2e}")
        else:
            print("not checked: there is no C compiler here")
