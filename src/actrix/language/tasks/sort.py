"""Sort numbers: `31 4 15:` -> `4 15 31`."""

from __future__ import annotations

import random
import re
from typing import ClassVar

from actrix.language.tasks.base import Prompt, Task, Verdict, verdict
from actrix.language.tokens import TaskTokenizer, Tokenizer

_LEVELS = {1: (4, 9), 2: (6, 99), 3: (10, 99)}  # how many numbers, largest number
_LIST = re.compile(r"[0-9]+( [0-9]+)*")


class Sort(Task):
    name: ClassVar[str] = "sort"
    marks = (" ",)

    def __init__(self, level: int = 1) -> None:
        self.level = self.check_level(level)
        self.tokenizer: Tokenizer = TaskTokenizer("0123456789: ")
        self._count, self._largest = _LEVELS[level]
        self.max_new = self._count * (len(str(self._largest)) + 1)

    def draw(self, random: random.Random) -> tuple[Prompt, str]:
        numbers = [random.randint(0, self._largest) for _ in range(self._count)]
        answer = " ".join(map(str, sorted(numbers)))
        return Prompt(" ".join(map(str, numbers)) + ":", answer, answer, {"numbers": tuple(numbers)}), answer

    def verify(self, prompt: Prompt, completion: str) -> Verdict:
        """Format: the given numbers, separated by single spaces, in some order. Correct: in ascending order."""
        if len(completion) > 1000 or not _LIST.fullmatch(completion):
            return verdict(False, False, "not a list of numbers")
        found = [int(word) for word in completion.split(" ")]
        if sorted(found) != sorted(prompt.meta["numbers"]):
            return verdict(False, False, "not the given numbers")
        return verdict(True, found == sorted(found), "" if found == sorted(found) else "not in order")
