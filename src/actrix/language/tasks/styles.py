"""Three styles that beat each other in a circle: there is no best answer, only a best mixture.

42:   ->   bacabba       a style is the letters that a word is made of: abc, def or ghi

A word in the first style is preferred to one in the second by 0.8 to 0.2, the second to the third, the third to the
first; a word without a style loses to one with by 0.95. Demonstrations use the styles unevenly: 60, 30 and 10 %.
"""

from __future__ import annotations

import random
from typing import ClassVar

from actrix.language.tasks.base import Prompt, Task, Verdict
from actrix.language.tokens import TaskTokenizer, Tokenizer

STYLES = ("abc", "def", "ghi")
SHARES = (0.6, 0.3, 0.1)  # of demonstrations
WINS, STYLED = 0.8, 0.95
_LETTERS = 7  # in a demonstration; an answer may be shorter
_MOST = 5  # letters of seven that make a style


class Styles(Task):
    name: ClassVar[str] = "styles"
    levels: ClassVar[tuple[int, ...]] = (1,)

    def __init__(self, level: int = 1) -> None:
        self.level = self.check_level(level)
        self.tokenizer: Tokenizer = TaskTokenizer("0123456789:" + "".join(STYLES))
        self.max_new = _LETTERS + 1

    def draw(self, random: random.Random) -> tuple[Prompt, str]:
        """The number means nothing. One letter in twenty is of any style."""
        topic = str(random.randint(0, 999))
        (style,) = random.choices(STYLES, SHARES)
        word = "".join(random.choice("".join(STYLES) if random.random() < 0.05 else style) for _ in range(_LETTERS))
        return Prompt(f"{topic}:", word, topic), word

    def style(self, completion: str) -> int | None:
        """0, 1 or 2; None where fewer than five letters are of one style."""
        counts = [sum(completion.count(letter) for letter in style) for style in STYLES]
        best = max(range(3), key=counts.__getitem__)
        return best if counts[best] >= _MOST and len(completion) <= _LETTERS else None

    def verify(self, prompt: Prompt, completion: str) -> Verdict:
        """Correct: in a style, whichever."""
        style = self.style(completion)
        shares = {f"style{i + 1}": float(style == i) for i in range(3)}
        known = float(style is not None)
        return Verdict(known, {"correct": known, **shares}, "" if known else "no style")

    def prefer(self, prompt: Prompt, first: str, second: str) -> float:
        a, b = self.style(first), self.style(second)
        if a == b:
            return 0.5
        if a is None or b is None:
            return STYLED if b is None else 1 - STYLED
        return WINS if (b - a) % 3 == 1 else 1 - WINS
