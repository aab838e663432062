"""any-order: a sum modulo 17 (7 on level 1), worked out in whatever order: many ways lead to the one answer.

3 + 12 + 5 :   ->   12 + 5 > 0 ; 0 + 3 > 3 ; ans 3

Demonstrations take the numbers in a random order.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import ClassVar

from actrix.language.tasks.arith_trace import write
from actrix.language.tasks.base import Prompt, Task, Verdict
from actrix.language.tokens import Tokenizer, WordTokenizer

_LEVELS = {1: (7, 4), 2: (17, 5), 3: (17, 8)}  # modulus, numbers


class AnyOrder(Task):
    name: ClassVar[str] = "any-order"
    marks = (";",)

    def __init__(self, level: int = 1) -> None:
        self.level = self.check_level(level)
        self.modulus, self._count = _LEVELS[level]
        self.tokenizer: Tokenizer = WordTokenizer([*map(str, range(self.modulus)), "+", ">", ";", "ans", ":"])
        self.max_new = 6 * (self._count - 1) + 3

    def draw(self, random: random.Random) -> tuple[Prompt, str]:
        numbers = [random.randrange(self.modulus) for _ in range(self._count)]
        text = " + ".join(map(str, numbers)) + " :"
        answer = f"ans {sum(numbers) % self.modulus}"
        prompt = Prompt(text, answer, " ".join(map(str, sorted(numbers))), {"numbers": tuple(numbers)})
        random.shuffle(numbers)
        steps, total = [], numbers[0]
        for number in numbers[1:]:
            steps.append((total, "+", number, (total + number) % self.modulus))
            total = steps[-1][3]
        return prompt, write(tuple(steps))

    def verify(self, prompt: Prompt, completion: str) -> Verdict:
        """Format: steps from the result before, over every number once. Steps: the share that are true. Correct: the
        answer is, however it was come by. A tenth each for format and steps, and the rest for the answer."""
        right = float(completion.endswith(f" ; {prompt.answer}"))
        steps = self._read(prompt, completion[:1000])
        if steps is None:
            text = "not the numbers of this sum, one after another"
            return Verdict(0.8 * right, {"format": 0.0, "steps": 0.0, "correct": right}, text)
        true = [(a + b) % self.modulus == result for a, b, result in steps]
        share = sum(true) / len(true)
        text = "" if all(true) else f"step {true.index(False) + 1} is false"
        return Verdict(0.1 + 0.1 * share + 0.8 * right, {"format": 1.0, "steps": share, "correct": right}, text)

    def conclusion(self, completion: str) -> str:
        """What comes after the last "ans"; all of what has none."""
        return completion.rpartition("ans ")[2]

    def _read(self, prompt: Prompt, completion: str) -> list[tuple[int, int, int]] | None:
        """Left, right and result of every step; None where they are no sum of the prompt's numbers."""
        *parts, answer = completion.split(" ; ")
        words = [part.split(" ") for part in parts]
        plain = set(map(str, range(self.modulus)))
        if len(parts) != self._count - 1 or any(len(w) != 5 or w[1] + w[3] != "+>" for w in words):
            return None
        if not plain.issuperset(w[i] for w in words for i in (0, 2, 4)) or answer != f"ans {words[-1][4]}":
            return None
        steps = [(int(w[0]), int(w[2]), int(w[4])) for w in words]
        used = Counter([steps[0][0], *(right for _, right, _ in steps)])
        linked = all(after[0] == before[2] for before, after in itertools.pairwise(steps))
        return steps if linked and used == Counter(prompt.meta["numbers"]) else None
