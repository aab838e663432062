"""Language tasks: prompts, verifiers and demonstrations, by name.

make_task("countdown", level=1)      make_task("rg:spell_backward")      make_task("jsonl:rows.jsonl")
make_task("game:rps")                make_task("game:random-50-0")
"""

from __future__ import annotations

from collections.abc import Callable

from actrix.errors import ActrixError, unknown
from actrix.language.tasks.arithmetic import Arithmetic
from actrix.language.tasks.base import Prompt, Split, Task, Verdict, split_of
from actrix.language.tasks.countdown import Countdown
from actrix.language.tasks.external import JsonLines, ReasoningGym
from actrix.language.tasks.game import Game
from actrix.language.tasks.sort import Sort
from actrix.language.tasks.styles import Styles

BUNDLED: dict[str, type[Countdown] | type[Arithmetic] | type[Sort]] = {
    task.name: task for task in (Arithmetic, Countdown, Sort)
}


def task_names() -> list[str]:
    """Every name, with the families that take an argument."""
    return [*BUNDLED, Styles.name, "game:<matrix>", "jsonl:<path>", "rg:<data set>"]


def make_task(name: str, level: int = 1) -> Task:
    """The task of that name at that level of difficulty (1 is the easiest). Errors name what there is."""
    family, colon, argument = name.partition(":")
    lacking = {
        "rg": "a reasoning-gym data set",
        "jsonl": "a file",
        "game": "a matrix (rps, ladder-SIZE or random-SIZE-SEED)",
    }
    if family in lacking:
        if not argument:
            raise ActrixError(f"the task {name!r} lacks {lacking[family]}", f"write {family}:NAME", misuse=True)
        kinds: dict[str, Callable[[str, int], Task]] = {"rg": ReasoningGym, "jsonl": JsonLines, "game": Game}
        return kinds[family](argument, level)
    if name == Styles.name:  # a matter of taste: nothing is right there
        return Styles(level)
    if colon or family not in BUNDLED:
        raise unknown("task", name, task_names())
    return BUNDLED[family](level)


__all__ = [
    "BUNDLED",
    "Arithmetic",
    "Countdown",
    "Game",
    "JsonLines",
    "Prompt",
    "ReasoningGym",
    "Sort",
    "Split",
    "Styles",
    "Task",
    "Verdict",
    "make_task",
    "split_of",
    "task_names",
]
