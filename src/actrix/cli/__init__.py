"""The command line: one file per command, answered without importing torch where none is needed."""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

from actrix.errors import ActrixError, unknown

COMMANDS = {
    "train": "train a system on an environment or a language task",
    "resume": "continue a run from its newest checkpoint",
    "eval": "score a run's policy from fixed starts",
    "compare": "compare runs: IQM, bootstrap intervals, probability of improvement",
    "export": "write a run's policy as ONNX, checked against the policy first",
    "report": "write a self-contained report.html of one or several runs",
    "list": "list the systems",
    "show": "one system: idea, equations, configuration, paper, claim",
    "claim": "re-run a system's published claim, small, and say whether it holds",
}
HELP = "usage: actrix COMMAND [...]\n\nActor-critic learning from shared parts.\n\ncommands:\n" + "".join(
    f"  {name:<9} {text}\n" for name, text in COMMANDS.items()
)
HELP += "\n`actrix COMMAND --help` says more. --json prints one JSON document; --debug shows tracebacks.\n"


def main(argv: list[str] | None = None) -> None:
    """Entry point. Exit status: 0 done, 1 failed, 2 misused."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: list[str]) -> int:
    """Run one command line and return its exit status."""
    debug = "--debug" in argv
    argv = [a for a in argv if a != "--debug"]
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0 if argv else 2
    if argv[0] == "--version":
        from actrix import __version__

        print(f"actrix {__version__}")
        return 0
    try:
        if argv[0] not in COMMANDS:
            raise unknown("command", argv[0], COMMANDS)
        importlib.import_module(f"actrix.cli.{argv[0]}").run(argv[1:])
        sys.stdout.flush()
        return 0
    except ActrixError as error:
        if debug:
            raise
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        return 2 if error.misuse else 1
    except KeyboardInterrupt:
        print("\nstopped; the run is intact up to its last checkpoint: `actrix resume FOLDER`", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader went away, as `head` does
        return 0
    except SystemExit as stop:  # the argument parser has spoken
        return stop.code if isinstance(stop.code, int) else 2
    except Exception as error:
        if debug:
            raise
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        print("  this is a fault of actrix: run it again with --debug and report the traceback", file=sys.stderr)
        return 1


def parse(cls: type, argv: list[str], command: str, description: str | None = None) -> Any:
    """Fill a dataclass from a command line; a bad flag is named, and ends the process with status 2."""
    import tyro

    return tyro.cli(
        cls,
        prog=f"actrix {command}",
        description=description or COMMANDS[command.split()[0]],
        args=argv,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
    )


def emit(data: dict[str, Any] | list[Any]) -> None:
    """Print the one JSON document of a `--json` command."""
    print(json.dumps(data, indent=2, allow_nan=False, default=str))


def table(rows: list[list[str]], right: tuple[int, ...] = ()) -> str:
    """Rows as aligned columns; the columns in `right` are numbers."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))).rstrip()
        for row in rows
    )
