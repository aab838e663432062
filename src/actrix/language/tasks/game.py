"""A preference game: one-token answers, and a matrix of who is preferred to whom.

game:rps             three answers, each preferred to the next by 0.9 to 0.1
game:ladder-3        each answer is always preferred to all that come after it
game:random-50-7     50 answers with random preferences, seed 7: each P(a > b) uniform in [0, 1], P(b > a) its rest
game:scores-50-7     50 answers with hidden scores, seed 7: Gaussian, P(a > b) a sigmoid of the difference (Bradley and
                     Terry); `scores_of` gives them, and the verifier, which else gives 1 for every answer
"""

from __future__ import annotations

import random
from typing import ClassVar

import numpy as np

from actrix.errors import ActrixError
from actrix.language.tasks.base import Prompt, Task, Verdict
from actrix.language.tokens import TaskTokenizer, Tokenizer
from actrix.rng import numpy_stream

_LETTERS = 0x4E00  # code point of the first answer: enough letters follow it


def scores_of(n: int, seed: int) -> np.ndarray:
    """The hidden scores [n] of the answers of `game:scores-n-seed`."""
    return numpy_stream(seed, "game/scores", n).normal(size=n)


def matrix_of(name: str) -> np.ndarray:
    """P(row > column) [n, n] of a game's name."""
    if name == "rps":
        return np.array([[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]])
    words = name.split("-")
    if words[0] == "ladder" and len(words) == 2 and words[1].isdecimal() and 2 <= int(words[1]) <= 5_000:
        above = np.triu(np.full((int(words[1]),) * 2, 0.5), 1)
        return 0.5 + above - above.T
    if len(words) == 3 and words[0] == "random" and words[1].isdecimal() and words[2].isdecimal():
        n = int(words[1])
        if 2 <= n <= 5_000:
            above = np.triu(numpy_stream(int(words[2]), "game", n).random((n, n)) - 0.5, 1)
            chance: np.ndarray = 0.5 + above - above.T
            return chance
    if len(words) == 3 and words[0] == "scores" and words[1].isdecimal() and words[2].isdecimal():
        n = int(words[1])
        if 2 <= n <= 5_000:
            score = scores_of(n, int(words[2]))
            above = np.triu(0.5 * np.tanh(0.5 * (score[:, None] - score)), 1)  # sigmoid less a half, exactly odd
            chance = 0.5 + above - above.T
            return chance
    raise ActrixError(
        f"there is no game {name!r}",
        "games are rps, ladder-SIZE, random-SIZE-SEED and scores-SIZE-SEED, with 2 to 5000 answers",
        misuse=True,
    )


class Game(Task):
    """The prompt is always the same. No answer is right by itself: the verifier accepts every one."""

    name: ClassVar[str] = "game"
    levels: ClassVar[tuple[int, ...]] = (1,)

    def __init__(self, argument: str, level: int = 1) -> None:
        self.argument = argument
        self.level = self.check_level(level)
        self.preferences = matrix_of(argument)
        kind, _, rest = argument.partition("-")
        self.worth = scores_of(*map(int, rest.split("-"))) if kind == "scores" else np.ones(len(self.preferences))
        self.answers = tuple(chr(_LETTERS + i) for i in range(len(self.preferences)))
        self.tokenizer: Tokenizer = TaskTokenizer(":" + "".join(self.answers))
        self.max_new = 1

    @property
    def label(self) -> str:
        return f"game:{self.argument}"

    def draw(self, random: random.Random) -> tuple[Prompt, str]:
        answer = random.choice(self.answers)
        # the key only spreads draws over the splits: there is one problem, in both
        return Prompt(":", answer, str(random.random()), {}), answer

    def verify(self, prompt: Prompt, completion: str) -> Verdict:
        known = float(completion in self.answers)
        score = float(self.worth[self.answers.index(completion)]) if known else 0.0
        return Verdict(score, {"correct": known}, "" if known else "not an answer of this game")

    def prefer(self, prompt: Prompt, first: str, second: str) -> float:
        places = [self.answers.index(text) if text in self.answers else None for text in (first, second)]
        if None in places:  # no answer at all loses to every answer
            return 0.5 if places == [None, None] else float(places[1] is None)
        return float(self.preferences[places[0], places[1]])
