"""arith-trace: a chain of sums, differences and products modulo 17 (5 on level 1), worked out from left to right.

3 + 5 * 12 :   ->   3 + 5 > 8 ; 8 * 12 > 11 ; ans 11

Answers can be criticised and revised. A critique says "ok", or "bad step 2" (steps count from 1). A revision does what
a critique says: it keeps the steps before the named one, gives that one another result and works out the rest; the
result is the right one if it was wrong before. After "ok" it is the same answer again.
"""

from __future__ import annotations

import operator
import random
import re
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

from actrix.language.tasks.base import Prompt, Task, Verdict
from actrix.language.tokens import Tokenizer, WordTokenizer

SIGNS: dict[str, Callable[[int, int], int]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}
Step = tuple[int, str, int, int]  # left, sign, right, result
_LEVELS = {1: (5, 4), 2: (17, 4), 3: (17, 6)}  # modulus, signs
# how reviewers fail, and how often a revision ignores what it is told
WRONG_VERDICT, WRONG_STEP, IGNORED = 0.3, 0.4, 0.1
_STEP = re.compile(r"([0-9]+) ([-+*]) ([0-9]+) > ([0-9]+)")
_BAD = re.compile(r"bad step ([1-9])")


def write(steps: tuple[Step, ...]) -> str:
    return " ; ".join(f"{a} {sign} {b} > {r}" for a, sign, b, r in steps) + f" ; ans {steps[-1][3]}"


class ArithTrace(Task):
    name: ClassVar[str] = "arith-trace"
    cues: ClassVar[dict[str, str]] = {"critique": "check :", "revision": "again :"}
    critique_length = 4
    marks = (";",)

    def __init__(self, level: int = 1) -> None:
        self.level = self.check_level(level)
        self.modulus, self._signs = _LEVELS[level]
        words = [*map(str, range(self.modulus)), *SIGNS, ">", ";", "ans", ":", "check", "ok", "bad", "step", "again"]
        steps = [str(i + 1) for i in range(self._signs) if i + 1 >= self.modulus]
        self.tokenizer: Tokenizer = WordTokenizer([*words, *steps])
        self.max_new = 6 * self._signs + 3

    @property
    def room(self) -> int:
        return 2 * self.max_new + self.critique_length + sum(len(cue.split()) for cue in self.cues.values())

    def draw(self, random: random.Random) -> tuple[Prompt, str]:
        numbers = tuple(random.randrange(self.modulus) for _ in range(self._signs + 1))
        signs = tuple(random.choice(list(SIGNS)) for _ in range(self._signs))
        text = str(numbers[0]) + "".join(f" {s} {n}" for s, n in zip(signs, numbers[1:])) + " :"
        prompt = self.problem(text)
        return prompt, write(self.work(prompt))

    def problem(self, text: str) -> Prompt:
        words = text.split()
        numbers, signs = tuple(map(int, words[:-1:2])), tuple(words[1:-1:2])
        # a problem that is another one rearranged is in the same split
        key = " ".join(map(str, sorted(numbers))) + "".join(sorted(signs))
        prompt = Prompt(text, "", key, {"numbers": numbers, "signs": signs})
        return replace(prompt, answer=f"ans {self.work(prompt)[-1][3]}")

    def value_of(self, step: Step) -> int:
        """What the result of a step should be."""
        return SIGNS[step[1]](step[0], step[2]) % self.modulus

    def true(self, step: Step) -> bool:
        return self.value_of(step) == step[3]

    def fault(self, steps: tuple[Step, ...]) -> int | None:
        """The first false step, from 0."""
        return next((i for i, step in enumerate(steps) if not self.true(step)), None)

    def work(self, prompt: Prompt, start: tuple[Step, ...] = ()) -> tuple[Step, ...]:
        """The steps of a chain, true ones after those that are given."""
        numbers, signs, steps = prompt.meta["numbers"], prompt.meta["signs"], list(start)
        for place in range(len(start), len(signs)):
            step = (steps[-1][3] if steps else numbers[0], signs[place], numbers[place + 1], 0)
            steps.append((*step[:3], self.value_of(step)))
        return tuple(steps)

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
        share = sum(map(self.true, steps)) / len(steps)
        right = float(prompt.answer == f"ans {steps[-1][3]}")
        first = self.fault(steps)
        text = "" if first is None else f"step {first + 1} is false"
        return Verdict(0.1 + 0.1 * share + 0.8 * right, {"format": 1.0, "steps": share, "correct": right}, text)

    def conclusion(self, completion: str) -> str:
        """What comes after the last "ans"; all of what has none."""
        return completion.rpartition("ans ")[2]

    def slip(self, prompt: Prompt, completion: str, random: random.Random) -> str:
        """One step has a wrong result, and the rest follows from it."""
        steps = self.read(prompt, completion)
        assert steps is not None
        return self.revised(prompt, steps, random.randrange(len(steps)), random)

    def revised(self, prompt: Prompt, steps: tuple[Step, ...], place: int, random: random.Random) -> str:
        """The answer with another result at a step: the right one, or, if that is what it was, a wrong one."""
        step, wanted = steps[place], self.value_of(steps[place])
        if self.true(step):
            wanted = random.choice([r for r in range(self.modulus) if r != wanted])
        return write(self.work(prompt, (*steps[:place], (*step[:3], wanted))))

    # -- critiques ----------------------------------------------------------------------------------------------

    def review(self, correct: bool, critique: str) -> Verdict:
        sound = True if critique == "ok" else False if _BAD.fullmatch(critique) else None
        right = float(sound is not None and sound == correct)
        parts = {"format": float(sound is not None), "sound": float(sound is True), "correct": right}
        return Verdict(right, parts, "no verdict" if sound is None else "" if right else "the verdict is wrong")

    def reviews(self, n: int, seed: int) -> list[tuple[str, str, str]]:
        """Of chains of any length up to the level's: single steps are where a critic can begin to learn. Half of the
        answers have a false step. Three verdicts in ten are wrong; where a false answer is blamed, four
        times in ten it is for any step."""
        source = random.Random(f"{self.label}/{self.level}/reviews/{seed}")
        found = []
        for whole, _ in self._problems("train", n, seed, "reviews"):
            prompt = self.problem(" ".join(whole.text.split()[: 2 * source.randint(1, self._signs) + 1]) + " :")
            answer = write(self.work(prompt))
            if source.random() < 0.5:
                answer = self.slip(prompt, answer, source)
            steps = self.read(prompt, answer)
            assert steps is not None
            first = self.fault(steps)
            right = f"ans {steps[-1][3]}" == prompt.answer  # (two faults may cancel)
            sound = right != (source.random() < WRONG_VERDICT)
            place = source.randrange(len(steps))
            if first is not None and source.random() >= WRONG_STEP:
                place = first
            found.append((prompt.text, answer, "ok" if sound else f"bad step {place + 1}"))
        return found

    def author(self, said: str, slips: float, random: random.Random) -> str:
        text, _, rest = said.partition(" :")
        prompt = self.problem(text + " :")
        answer, _, critique = rest.strip().partition(" check : ")
        if not critique:
            right = write(self.work(prompt))
            return self.slip(prompt, right, random) if random.random() < slips else right
        steps, blamed = self.read(prompt, answer), _BAD.fullmatch(critique.removesuffix(" again :"))
        place = int(blamed[1]) - 1 if blamed else -1
        if steps is None or not 0 <= place < len(steps) or random.random() < IGNORED:
            return answer
        return self.revised(prompt, steps, place, random)

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
            first, kind = self.fault(steps), source.randrange(3)
            place = source.randrange(len(steps)) if kind == 2 else None if kind == 0 else first
            critique = "ok" if place is None else f"bad step {place + 1}"
            said = f"{prompt.text} {answer} check : {critique} again :"
            found.append((prompt.text, answer, critique, self.author(said, 0.0, source)))
        return found
