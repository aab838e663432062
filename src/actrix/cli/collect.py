"""actrix collect RUN --episodes N --out DIR [...]"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from actrix.cli import emit, parse


@dataclass(frozen=True)
class Args:
    folder: tyro.conf.Positional[Path]  # run folder
    out: Path  # what to write: a folder (minari), or a file (d4rl: .hdf5, npz: .npz); must not be there yet
    episodes: int = 100  # whole episodes, from starts that follow from --seed
    seed: int = 0  # of starts and actions
    mode: str = "sample"  # sample: as the policy explores; mean: as it is evaluated
    format: str = "minari"  # minari, d4rl or npz
    json: bool = False  # print one JSON document, and nothing else


def run(argv: list[str]) -> None:
    args = parse(Args, argv, "collect")
    from actrix import api

    result = api.collect(args.folder, args.out, args.episodes, args.seed, args.mode, args.format, quiet=args.json)
    if args.json:
        emit(result)
        return
    print(f"{result['rows']:,} steps in {result['episodes']:,} episodes, mean return {result['mean']:,.2f}")
    print(f"data  {result['data']}   (`actrix data {result['data']}` shows it)")
