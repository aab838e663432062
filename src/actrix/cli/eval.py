"""actrix eval FOLDER [--episodes N] [--seed S] [--descriptor D...] [--json]"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from actrix.cli import emit, parse


@dataclass(frozen=True)
class Args:
    folder: tyro.conf.Positional[Path]  # run folder
    episodes: int = 20  # episodes, or prompts of a language task
    seed: int = 0  # which fixed set of starts
    descriptor: tuple[float, ...] = ()  # of an archive, the elite nearest to this acts (parts of the range, 0 to 1)
    json: bool = False  # print one JSON document, and nothing else


def run(argv: list[str]) -> None:
    args = parse(Args, argv, "eval")
    from actrix import api

    result = api.evaluate(args.folder, args.episodes, args.seed, args.descriptor)
    if args.json:
        emit(result)
        return
    print(f"{result['system']} on {result['env'] or result['task']}: {args.episodes} episodes from fixed starts")
    if "descriptor" in result:
        print("elite at " + " ".join(f"{value:.3f}" for value in result["descriptor"]))
    print(f"mean {result['mean']:,.3f}   95 % interval {result['low']:,.3f} to {result['high']:,.3f}")
    for name in sorted(k for k in result if k.startswith("pass@")):
        print(f"{name} {result[name]:.3f}")
