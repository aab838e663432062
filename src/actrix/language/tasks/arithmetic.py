"""Addition and multiplication with worked steps.

57+68:  ->  7+8+0=15,5+6+1=12#125       column by column: digit + digit + carry
34*57:  ->  34*7=238,34*50=1700,238+1700=1938#1938
"""

from __future__ import annotations

import random
import re
from typing import ClassVar

from actrix.language.tasks.base import Prompt, Task, Verdict
from actrix.language.tasks.expression import ExpressionError, parse
from actrix.language.tokens import TaskTokenizer, Tokenizer

_STEPS = re.compile(r"([0-9+*]+=[0-9]+(?:,[0-9+*]+=[0-9]+)*)#([0-9]+)")


def add_steps(left: int, right: int) -> str:
    """Worked addition, from the last digit to the first."""
    a, b = str(left)[::-1], str(right)[::-1]
    steps, carry = [], 0
    for column in range(max(len(a), len(b))):
        x, y = (int(n[column]) if column < len(n) else 0 for n in (a, b))
        steps.append(f"{x}+{y}+{carry}={x + y + carry}")
        carry = (x + y + carry) // 10
    return ",".join(steps) + f"#{left + right}"


def multiply_steps(left: int, right: int) -> str:
    """Worked multiplication: a product per digit of the right factor, then the running sum."""
    steps, total = [], None
    for place, digit in enumerate(reversed(str(right))):
        factor = int(digit) * 10**place
        part = left * factor
        steps.append(f"{left}*{factor}={part}")
        if total is not None:
            steps.append(f"{total}+{part}={total + part}")
        total = part if total is None else total + part
    return ",".join(steps) + f"#{total}"


class Arithmetic(Task):
    name: ClassVar[str] = "arithmetic"
    marks = (",", "#")

    def __init__(self, level: int = 1) -> None:
        self.level = self.check_level(level)
        self.tokenizer: Tokenizer = TaskTokenizer("0123456789+*=,#: ")
        self.max_new = {1: 24, 2: 48, 3: 72}[level]

    def draw(self, random: random.Random) -> tuple[Prompt, str]:
        """Level 1: two digits plus two. 2: four plus four, or two times one. 3: six plus six, or three times two."""
        digits, left_digits, right_digits = {1: (2, 0, 0), 2: (4, 2, 1), 3: (6, 3, 2)}[self.level]

        def number(count: int) -> int:
            return random.randint(10 ** (count - 1), 10**count - 1)

        if left_digits and random.random() < 0.5:
            left, right, sign = number(left_digits), number(right_digits), "*"
            completion, answer = multiply_steps(left, right), left * right
        else:
            left, right, sign = number(digits), number(digits), "+"
            completion, answer = add_steps(left, right), left + right
        key = f"{min(left, right)}{sign}{max(left, right)}"
        return Prompt(f"{left}{sign}{right}:", str(answer), key, {"answer": answer}), completion

    def verify(self, prompt: Prompt, completion: str) -> Verdict:
        """Format: worked steps, then # and a number. Steps: the share that are true. Correct: the number is right.

        The score is a tenth each for format and for true steps, and the rest for the answer.
        """
        match = _STEPS.fullmatch(completion) if len(completion) <= 1000 else None
        if match is None:
            return Verdict(0.0, {"format": 0.0, "steps": 0.0, "correct": 0.0}, "not worked steps and #answer")
        steps = [step.split("=") for step in match[1].split(",")]
        true = [_value(left) == int(right) for left, right in steps]
        share = sum(true) / len(true)
        right = len(match[2]) <= 30 and int(match[2]) == prompt.meta["answer"]
        if not all(true):
            text = "a false step: " + "=".join(steps[true.index(False)])
        else:
            text = "" if right else f"is {prompt.answer}"
        score = 0.1 + 0.1 * share + 0.8 * right
        return Verdict(score, {"format": 1.0, "steps": share, "correct": float(right)}, text)

    def conclusion(self, completion: str) -> str:
        """What comes after the last #; all of what has none."""
        return completion.rpartition("#")[2]


def _value(text: str) -> int | None:
    try:
        return int(parse(text).value)
    except ExpressionError:
        return None
