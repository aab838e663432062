"""arith-trace: a chain of sums, differences and products modulo 17, worked out from left to right.

3 + 5 * 12 :   ->   3 + 5 > 8 ; 8 * 12 > 11 ; ans 11

Answers can be criticised and revised. A critique says "ok", or "bad step 2" (steps count from 1). A revision does what
a critique says: it keeps the steps before the named one, gives that one another result and works out the rest; the
result is the right one if it was wrong before. After "ok" it is the same answer again.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from typing import ClassVar

from actrix.language.tasks.base import Prompt, Task, Verdict
from actrix.language.tokens import Tokenizer, WordTokenizer

MODULUS = 17
SIGNS: dict[str, Callable[[int, int], int]] = {
    "+": lambda a, b: (a + b) % MODULUS,
    "-": lambda a, b: (a - b) % MODULUS,
    "*": lambda a, b: a * b % MODULUS,
}
Step = tuple[int, str, int, int]  # left, sign, right, result
# how reviewers fail, and how often a revision ignores what it is told
WRONG_VERDICT, WRONG_STEP, IGNORED = 0.3, 0.4, 0.1
_STEP = re.compile(r"([0-9]+) ([-+*]) ([0-9]+) > ([0-9]+)")
_BAD = re.compile(r"bad step ([0-9]+)")


def work(numbers: tuple[int, ...], signs: tuple[str, ...], start: tuple[Step, ...] = ()) -> tuple[Step, ...]:
    """The steps of a chain, after those that are given."""
    steps = list(start)
    for place in range(len(start), len(signs)):
        left = steps[-1][3] if steps else numbers[0]
        sign, right = signs[place], numbers[place + 1]
        steps.append((left, sign, right, SIGNS[sign](left, right)))
    return tuple(steps)


def write(steps: tuple[Step, ...]) -> str:
    return " ; ".join(f"{a} {sign} {b} > {r}" for a, sign, b, r in steps) + f" ; ans {steps[-1][3]}"


def true(step: Step) -> bool:
    return SIGNS[step[1]](step[0], step[2]) == step[3]


def fault(steps: tuple[Step, ...]) -> int | None:
    """The first false step, from 0."""
    return next((i for i, step in enumerate(steps) if not true(step)), None)


class ArithTrace(Task):
    name: ClassVar[str] = "arith-trace"
    cues: ClassVar[dict[str, str]] = {"critique": "check :", "revision": "again :"}
    critique_length = 4

    def __init__(self, level: int = 1) -> None:
        self.level = self.check_level(level)
        self._signs = {1: 4, 2: 5, 3: 6}[level]
        words = [*map(str, range(MODULUS)), *SIGNS, ">", ";", "ans", ":", "check", "ok", "bad", "step", "again"]
        self.tokenizer: Tokenizer = WordTokenizer(words)
        self.max_new = 6 * self._signs + 3

    @property
    def room(self) -> int:
        return 2 * self.max_new + self.critique_length + sum(len(cue.split()) for cue in self.cues.values())

    def draw(self, random: random.Random) -> tuple[Prompt, str]:
        numbers = tuple(random.randrange(MODULUS) for _ in range(self._signs + 1))
        signs = tuple(random.choice(list(SIGNS)) for _ in range(self._signs))
        text = str(numbers[0]) + "".join(f" {s} {n}" for s, n in zip(signs, numbers[1:])) + " :"
        steps = work(numbers, signs)
        # a problem that is another one rearranged is in the same split
        key = " ".join(map(str, sorted(numbers))) + "".join(sorted(signs))
        return Prompt(text, f"ans {steps[-1][3]}", key, {"numbers": numbers, "signs": signs}), write(steps)

    def read(self, prompt: Prompt, completion: str) -> tuple[Step, ...] | None:
        """The steps of an answer; None where it is not the chain of this problem, worked out somehow."""
        *parts, answer = completion[:1000].split(" ; ")
        signs, numbers = prompt.meta["signs"], prompt.meta["numbers"]
        if len(parts) != len(signs):
            return None
        steps: list[Step] = []
        for place, part in enumerate(parts):
            match = _STEP.fullmatch(part)
            if match is None or any(len(g) > 2 for g in match.groups()):
                return None
            step = (int(match[1]), match[2], int(match[3]), int(match[4]))
            left = steps[-1][3] if steps else numbers[0]
            if step[:3] != (left, signs[place], numbers[place + 1]):
                return None
            steps.append(step)
        return tuple(steps) if answer == f"ans {steps[-1][3]}" else None

    def verify(self, prompt: Prompt, completion: str) -> Verdict:
        """Format: the chain of the problem, each step from the result before. Steps: the share that are true. Correct:
        the answer is. A tenth each for format and steps, and the rest for the answer."""
        steps = self.read(prompt, completion)
        if steps is None:
            return Verdict(0.0, {"format": 0.0, "steps": 0.0, "correct": 0.0}, "not this chain, worked out")
        share = sum(map(true, steps)) / len(steps)
        right = float(prompt.answer == f"ans {steps[-1][3]}" and 0 <= steps[-1][3] < MODULUS)
        first = fault(steps)
        text = "" if first is None else f"step {first + 1} is false"
        return Verdict(0.1 + 0.1 * share + 0.8 * right, {"format": 1.0, "steps": share, "correct": right}, text)

    def slip(self, prompt: Prompt, completion: str, random: random.Random) -> str:
        """One step has a wrong result, and the rest follows from it."""
        steps = self.read(prompt, completion)
        assert steps is not None
        return self.revised(prompt, steps, random.randrange(len(steps)), random)

    def revised(self, prompt: Prompt, steps: tuple[Step, ...], place: int, random: random.Random) -> str:
        """The answer with another result at a step: the right one, or, if that is what it was, a wrong one."""
        left, sign, right, result = steps[place]
        wanted = SIGNS[sign](left, right)
        if result == wanted:
            wanted = random.choice([r for r in range(MODULUS) if r != result])
        start = (*steps[:place], (left, sign, right, wanted))
        return write(work(prompt.meta["numbers"], prompt.meta["signs"], start))

    # -- critiques ----------------------------------------------------------------------------------------------

    def review(self, correct: bool, critique: str) -> Verdict:
        sound = True if critique == "ok" else False if _BAD.fullmatch(critique) else None
        right = float(sound is not None and sound == correct)
        parts = {"format": float(sound is not None), "sound": float(sound is True), "correct": right}
        return Verdict(right, parts, "no verdict" if sound is None else "" if right else "the verdict is wrong")

    def reviews(self, n: int, seed: int) -> list[tuple[str, str, str]]:
        """Half of the answers have a false step. Three verdicts in ten are wrong; where a false answer is blamed, four
        times in ten it is for any step."""
        source = random.Random(f"{self.label}/{self.level}/reviews/{seed}")
        found = []
        for prompt, answer in self._problems("train", n, seed, "reviews"):
            if source.random() < 0.5:
                answer = self.slip(prompt, answer, source)
            steps = self.read(prompt, answer)
            assert steps is not None
            first = fault(steps)
            right = f"ans {steps[-1][3]}" == prompt.answer  # (two faults may cancel)
            sound = right != (source.random() < WRONG_VERDICT)
            place = source.randrange(len(steps))
            if first is not None and source.random() >= WRONG_STEP:
                place = first
            found.append((prompt.text, answer, "ok" if sound else f"bad step {place + 1}"))
        return found

    def revisions(self, n: int, seed: int) -> list[tuple[str, str, str, str]]:
        """Half of the answers have a false step; a third of the critiques say ok, a third are right, a third blame any
        step."""
        source = random.Random(f"{self.label}/{self.level}/revisions/{seed}")
        found = []
        for prompt, answer in self._problems("train", n, seed, "revisions"):
            if source.random() < 0.5:
                answer = self.slip(prompt, answer, source)
            steps = self.read(prompt, answer)
            assert steps is not None
            first, kind = fault(steps), source.randrange(3)
            place = source.randrange(len(steps)) if kind == 2 else None if kind == 0 else first
            critique = "ok" if place is None else f"bad step {place + 1}"
            follows = place is not None and source.random() >= IGNORED
            revision = self.revised(prompt, steps, place, source) if follows and place is not None else answer
            found.append((prompt.text, answer, critique, revision))
        return found
