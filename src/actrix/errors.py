"""The one exception that people are meant to see: what was wrong, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ActrixError(Exception):
    """A clear error. `message` says what was wrong; `hint` says what to do.

    `misuse` is True where the command was called wrongly (exit code 2) rather than failed (exit code 1).
    """

    def __init__(self, message: str, hint: str = "", *, misuse: bool = False) -> None:
        super().__init__(f"{message}\n{hint}" if hint else message)
        self.message = message
        self.hint = hint
        self.misuse = misuse


def unknown(kind: str, name: str, known: Iterable[str]) -> ActrixError:
    """The error for a name nobody knows, with the nearest names there are."""
    names = sorted(set(known))
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    near.sort(key=lambda other: sorted(other) != sorted(name))  # letters that changed places are the likeliest slip
    hint = f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(names)}"
    return ActrixError(f"unknown {kind} {name!r}", hint, misuse=True)


def brief(error: BaseException) -> str:
    """An exception in one line: its type and the first line of what it says."""
    lines = str(error).strip().splitlines()
    text = lines[0][:300] if lines else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
