"""Language tasks: prompts, verifiers and demonstrations, by name.

make_task("countdown", level=1)      make_task("rg:spell_backward")      make_task("jsonl:rows.jsonl")
"""

from __future__ import annotations

from actrix.errors import ActrixError, unknown
from actrix.language.tasks.arithmetic import Arithmetic
from actrix.language.tasks.base import Prompt, Split, Task, Verdict, split_of
from actrix.language.tasks.countdown import Countdown
from actrix.language.tasks.external import JsonLines, ReasoningGym
from actrix.language.tasks.sort import Sort

BUNDLED: dict[str, type[Countdown] | type[Arithmetic] | type[Sort]] = {
    task.name: task for task in (Arithmetic, Countdown, Sort)
}


def task_names() -> list[str]:
    """Every name, with the two families that take an argument."""
    return [*BUNDLED, "jsonl:<path>", "rg:<data set>"]


def make_task(name: str, level: int = 1) -> Task:
    """The task of that name at that level of difficulty (1 is the easiest). Errors name what there is."""
    family, colon, argument = name.partition(":")
    if family in ("rg", "jsonl"):
        if not argument:
            what = "a reasoning-gym data set" if family == "rg" else "a file"
            raise ActrixError(f"the task {name!r} lacks {what}", f"write {family}:NAME", misuse=True)
        return ReasoningGym(argument, level) if family == "rg" else JsonLines(argument, level)
    if colon or family not in BUNDLED:
        raise unknown("task", name, task_names())
    return BUNDLED[family](level)


__all__ = [
    "BUNDLED",
    "Arithmetic",
    "Countdown",
    "JsonLines",
    "Prompt",
    "ReasoningGym",
    "Sort",
    "Split",
    "Task",
    "Verdict",
    "make_task",
    "split_of",
    "task_names",
]
