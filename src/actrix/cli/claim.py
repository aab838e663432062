"""actrix claim SYSTEM [--seeds N] [--json]"""

from __future__ import annotations

from dataclasses import dataclass

import tyro

from actrix.cli import emit, parse


@dataclass(frozen=True)
class Args:
    system: tyro.conf.Positional[str]  # system
    seeds: int | None = None  # seeds per arm; by default the claim's own number. Fewer are not recorded
    json: bool = False  # print one JSON document, and nothing else


def run(argv: list[str]) -> None:
    args = parse(Args, argv, "claim")
    from actrix.claims.claim import run_claim

    result = run_claim(args.system, args.seeds, quiet=args.json)
    if args.json:
        emit(result)
    else:
        print(f"{result['system']}: {result['verdict']}\n{result['finding']}")
