"""actrix train SYSTEM --env ID | --data DIR | --task NAME [...]"""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any

from actrix.cli import COMMANDS, emit, parse
from actrix.errors import ActrixError

USAGE = f"""usage: actrix train SYSTEM --env ID | --data DIR... | --task NAME [options]

{COMMANDS["train"]}

`actrix list` names the systems; `actrix train SYSTEM --help` shows every option, the system's own included.

  actrix train sac --env HalfCheetah-v5 --steps 100000
  actrix train ppo --env CartPole-v1 --envs 8
  actrix train grpo --task countdown
  actrix train iql --data DIR --steps 50000
  actrix train sac --data DIR --steps 20000 --online-steps 10000
"""


@dataclass(frozen=True)
class Output:
    folder: Path | None = None  # run folder; a new one under runs/ if not given
    json: bool = False  # print the result as one JSON document, and nothing else


def run(argv: list[str]) -> None:
    if not argv or argv[0].startswith("-"):
        if argv and argv[0] in ("-h", "--help"):
            print(USAGE, end="")
            return
        raise ActrixError("which system?", "actrix train SYSTEM --env ID; `actrix list` names the systems", misuse=True)
    from actrix import registry

    registry.find(argv[0])  # before torch is loaded: a typing mistake is answered at once
    import tyro

    from actrix import api
    from actrix.run.trainer import RunOptions

    system = registry.load(argv[0])
    fields: list[tuple[str, Any]] = [
        ("run", Annotated[RunOptions, tyro.conf.arg(name="run")]),
        ("config", system.config),
        ("output", Output),
    ]
    args = parse(make_dataclass("Train", fields), argv[1:], f"train {system.slug}", registry.find(argv[0]).title)
    trainer = api.begin(system.slug, args.run, args.config, args.output.folder)
    print_result(api.finish(trainer, quiet=args.output.json), args.output.json)


def print_result(result: Any, json: bool) -> None:
    """What `train` and `resume` print at the end."""
    e = result.evaluation
    if json:
        emit({**dataclasses.asdict(result), "folder": str(result.folder)})
        return
    if not e:
        print("not evaluated: no environment is known (--env ID names one)")
    else:
        print_score(e)
    print(f"run   {result.folder}  ({result.step:,} steps, {result.seconds:,.0f} s)")
    sys.stdout.flush()


def print_score(e: dict[str, Any]) -> None:
    print(f"score {e['mean']:,.2f}  (95 % interval {e['low']:,.2f} to {e['high']:,.2f}, {len(e['scores'])} episodes)")
