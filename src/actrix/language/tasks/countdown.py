"""Countdown: reach a target from given numbers with + - * /, each number used exactly once.

3 8 5=29:   ->   (8*3)+5
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from actrix.language.tasks.base import Prompt, Task, Verdict, verdict
from actrix.language.tasks.expression import ExpressionError, parse
from actrix.language.tokens import TaskTokenizer, Tokenizer


@dataclass(frozen=True)
class _Level:
    numbers: int  # given
    largest: int  # of the given numbers
    target: int  # largest target
    signs: str = "+-*/"  # that a problem is made with; a solution may use all four
    ordered: bool = False  # the numbers are shown in an order in which they solve the problem


_LEVELS = {1: _Level(3, 15, 45, "+-", ordered=True), 2: _Level(3, 20, 99), 3: _Level(4, 50, 999)}


class Countdown(Task):
    name: ClassVar[str] = "countdown"

    def __init__(self, level: int = 1) -> None:
        self.level = self.check_level(level)
        self.tokenizer: Tokenizer = TaskTokenizer("0123456789+-*/()=: ")
        self._level = _LEVELS[level]
        # Numbers, operators, a pair of parentheses around each inner operation, and the end token.
        digits = len(str(self._level.largest))
        self.max_new = self._level.numbers * (digits + 1) - 1 + 2 * (self._level.numbers - 2) + 1

    def draw(self, random: random.Random) -> tuple[Prompt, str]:
        """A random expression over random numbers whose value is a whole number in range."""
        level = self._level
        while True:
            numbers = [random.randint(1, level.largest) for _ in range(level.numbers)]
            built = self._build(numbers, random)
            if built is None or built[0].denominator != 1 or not 1 <= built[0] <= level.target:
                continue
            value, text = built
            if not level.ordered:
                random.shuffle(numbers)
            key = " ".join(map(str, sorted(numbers))) + f"={value}"
            meta = {"numbers": tuple(numbers), "target": int(value)}
            shown = " ".join(map(str, numbers)) + f"={value}:"
            return Prompt(shown, text, key, meta), text

    def slip(self, prompt: Prompt, completion: str, random: random.Random) -> str:
        """The lazy answer, the sum of all numbers: of the right form, and right only by chance."""
        first, *rest = (str(n) for n in prompt.meta["numbers"])
        for place, number in enumerate(rest):
            first = f"{first}+{number}" if place == len(rest) - 1 else f"({first}+{number})"
        return first

    def _build(self, numbers: list[int], random: random.Random) -> tuple[Fraction, str] | None:
        """Combines the numbers two at a time; None where a division by zero comes up."""
        parts = [(Fraction(n), str(n)) for n in numbers]
        while len(parts) > 1:
            place = random.randrange(len(parts) - 1)
            left, right = parts[place : place + 2]
            sign = random.choice(self._level.signs)
            if sign == "/" and right[0] == 0:
                return None
            if sign == "+":
                value = left[0] + right[0]
            elif sign == "-":
                value = left[0] - right[0]
            else:
                value = left[0] * right[0] if sign == "*" else left[0] / right[0]
            text = f"{left[1]}{sign}{right[1]}"
            parts[place : place + 2] = [(value, f"({text})" if len(parts) > 2 else text)]
        return parts[0]

    def verify(self, prompt: Prompt, completion: str) -> Verdict:
        """Format: an expression that uses the given numbers once each. Correct: its value is the target."""
        numbers, target = prompt.meta["numbers"], prompt.meta["target"]
        try:
            expression = parse(completion)
        except ExpressionError as error:
            return verdict(False, False, f"not an expression: {error}")
        if sorted(expression.numbers) != sorted(numbers):
            used = ", ".join(map(str, expression.numbers))
            return verdict(False, False, f"uses {used} where {', '.join(map(str, numbers))} were given")
        if expression.value != target:
            return verdict(True, False, f"is {expression.value}, not {target}")
        return verdict(True, True, "")
