"""actrix data DIR... [--out FILE] [--json]"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from actrix.cli import emit, parse, table
from actrix.errors import ActrixError


@dataclass(frozen=True)
class Args:
    data: tyro.conf.Positional[Path]  # a Minari folder, a folder or file of D4RL's HDF5 or of NPZ
    env: str | None = None  # the environment it is from, where the data do not say
    out: Path | None = None  # the page to write; by default data.html in the folder, or beside the file
    pictures: bool = True  # write the page
    json: bool = False  # print one JSON document, and nothing else


def run(argv: list[str]) -> None:
    args = parse(Args, argv, "data")
    from actrix.run.folder import disk_errors
    from actrix.run.offline import look

    if args.out is not None and args.out.is_dir():
        raise ActrixError(f"--out {args.out} is a folder", "name the page, for example data.html", misuse=True)
    found, dataset = look(args.data, args.env)
    if args.pictures:
        from actrix.evaluate.recorded import write_page

        beside = args.data / "data.html" if args.data.is_dir() else args.data.with_suffix(".html")
        with disk_errors(str(args.out or beside)):
            found["page"] = str(write_page(found, dataset, args.out or beside))
    if args.json:
        emit(found)
        return
    rows = [
        ["data", found["path"]],
        ["format", found["format"]],
        ["environment", found["env"] or "not recorded"],
        ["transitions", f"{found['rows']:,}"],
        ["episodes", f"{found['episodes']:,}  ({found['terminated']:,} terminated, {found['truncated']:,} cut off)"],
        ["observation", f"{found['obs_size']} numbers, {found['obs_dtype']}"],
        ["action", f"{found['action_kind']}, {found['action_size']} numbers"],
        ["better than mean", f"{found['positive_variance']:,.3g}: mean square of returns above it (see --weigh)"],
        *([["out of bounds", f"{found['clipped']:,} actions, brought to the bounds"]] if found["clipped"] else []),
        ["fingerprint", found["fingerprint"]],
    ]
    print(table(rows) + "\n")
    figures = [["", "mean", "std", "least", "5 %", "median", "95 %", "most"]]
    for name in ("return", "length", "reward"):
        figures.append([name, *(f"{found[name][k]:,.3f}" for k in ("mean", "std", "min", "p5", "p50", "p95", "max"))])
    print(table(figures, right=tuple(range(1, 8))))
    if "page" in found:
        print(f"\npage  {found['page']}")
