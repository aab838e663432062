"""The command line: one file per command, answered without importing torch where none is needed.

Exit status: 0 done, 1 failed, 2 misused, 130 stopped by Ctrl-C; 137 where an environment had to be killed together
with the process (see `envs.watchdog`). A failure says in one or two lines on stderr what was wrong and what to do.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import io
import os
import re
import sys
import traceback
from collections.abc import Iterator
from typing import IO, Any

from actrix.errors import ActrixError, brief, unknown

COMMANDS = {
    "train": "train a system on an environment, on recorded data, or on a language task",
    "resume": "continue a run from its newest checkpoint",
    "eval": "score a run's policy from fixed starts",
    "collect": "record episodes of a run's policy as a data set",
    "data": "what a data set holds, with pictures",
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
    """Entry point."""
    argv = sys.argv[1:] if argv is None else argv
    with document_only() if "--json" in argv else contextlib.nullcontext():
        status = run(argv)
    sys.exit(status)


_document: IO[str] | None = None  # where the JSON document goes, if not to stdout


@contextlib.contextmanager
def document_only() -> Iterator[None]:
    """Stdout is for the one document of `--json`: whatever else is printed, also by compiled code, goes to stderr."""
    global _document
    sys.stdout.flush()
    try:
        with os.fdopen(os.dup(1), "w") as document:
            _document = document
            os.dup2(2, 1)
            yield
            sys.stdout.flush()
            os.dup2(document.fileno(), 1)
    finally:
        _document = None


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
        return failed(error.message, error.hint, argv, debug, 2 if error.misuse else 1)
    except KeyboardInterrupt:
        print("\nstopped; a run is intact up to its last checkpoint: `actrix resume FOLDER`", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), (_document or sys.stdout).fileno())  # the rest of what was said
        return 0
    except SystemExit as stop:  # the argument parser has spoken
        return stop.code if isinstance(stop.code, int) else 2
    except Exception as error:
        hint = "this is a fault of actrix: run it again with --debug and report the traceback"
        return failed(brief(error), hint, argv, debug, 1)


def failed(message: str, hint: str, argv: list[str], debug: bool, status: int) -> int:
    """Say what was wrong and what to do; inside `except`."""
    if debug:
        traceback.print_exc()
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"  {hint}", file=sys.stderr)
    if "--json" in argv:
        emit({"error": message, "hint": hint})
    return status


def parse(cls: type, argv: list[str], command: str, description: str | None = None) -> Any:
    """Fill a dataclass from a command line; ActrixError (status 2) names a bad flag, and the nearest there are."""
    import tyro

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                cls,
                prog=f"actrix {command}",
                description=description or COMMANDS[command.split()[0]],
                args=argv,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise misused(said.getvalue(), flags(cls), command) from None


def flags(cls: Any) -> list[str]:
    """The flags of a dataclass, those of nested ones included."""
    import typing

    found = []
    hints = typing.get_type_hints(cls)
    for item in dataclasses.fields(cls):
        inner = hints[item.name]
        name = f"--{item.name.replace('_', '-')}"
        found += flags(inner) if dataclasses.is_dataclass(inner) else [name]
    return found


def misused(said: str, known: list[str], command: str) -> ActrixError:
    """What the argument parser says in a box of many lines, in two."""
    lines = [" ".join(re.sub("[╭╮╰╯│─]", " ", line).split()) for line in said.splitlines()]
    lines = [line for line in lines if line][1:] or ["the command line was not understood"]
    message, help_hint = lines[0], f"`actrix {command} --help` shows every option"
    if message.startswith("Unrecognized options:"):
        name = message.split(":", 1)[1].split(",")[0].split()[0]
        problem = unknown("option", name, known)
        near = problem.hint.startswith("did you mean")
        return ActrixError(problem.message, problem.hint if near else help_hint, misuse=True)
    if message.startswith("Missing from"):
        message = f"missing: {', '.join(line.removesuffix('(required)').strip() for line in lines[1:3])}"
    return ActrixError(message.removeprefix("Error parsing "), help_hint, misuse=True)


def emit(data: dict[str, Any] | list[Any]) -> None:
    """Print the one JSON document of a `--json` command."""
    from actrix.run.folder import strict_json

    print(strict_json(data, indent=2), file=_document or sys.stdout, flush=True)


def table(rows: list[list[str]], right: tuple[int, ...] = ()) -> str:
    """Rows as aligned columns; the columns in `right` are numbers."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))).rstrip()
        for row in rows
    )
