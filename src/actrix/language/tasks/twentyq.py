"""twentyq: find out which of some words somebody thinks of, by asking, in at most eight turns.

guess :   ->   is it alive ? no does it need power ? yes ... is it a clock ? right

The same words are thought of in training and in testing: there is nothing else to know. Every turn costs a tenth; a
right guess ends the game and earns 1.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from functools import cache
from typing import ClassVar

from actrix.language.tasks.base import Prompt, Reply
from actrix.language.tasks.conversation import Conversation
from actrix.language.tokens import Tokenizer, WordTokenizer

QUESTIONS = (
    "is it alive ?", "is it bigger than you ?", "can it fly ?", "does it go on water ?", "can you eat it ?",
    "is it made of metal ?", "does it have wheels ?", "does it have fur ?", "do you keep it at home ?",
    "is it loud ?", "is it round ?", "does it need power ?",
)  # fmt: skip
WORDS = {  # what is true of each, in the order of the questions
    "cat": "100000011000", "dog": "100000011100", "horse": "110000010000", "eagle": "101000000100",
    "duck": "101110000100", "salmon": "100110000000", "apple": "000010001010", "bread": "000010001000",
    "car": "010001101101", "train": "010001100101", "ship": "010101000101", "plane": "011001100101",
    "bicycle": "000001101000", "drum": "000000001110", "clock": "000001001011", "ball": "000000001010",
    "cow": "110010010100", "whale": "110100000100", "bee": "101000010000", "candle": "000000001000",
    "cannon": "010001100100", "spoon": "000001001000", "kettle": "000001001101", "lamp": "000000001001",
    "coat": "000000011000", "owl": "101000000000", "canoe": "010100000000", "kite": "001000001000",
    "coin": "000001001010", "balloon": "011000000010", "drone": "001001001101", "submarine": "010101000001",
}  # fmt: skip
TURNS, COST = 8, 0.1
_WORDS = {1: 16, 2: 24, 3: 32}  # in the game, by level


class Thinker:
    """The counterpart: thinks of a word, and answers truthfully."""

    def __init__(self, word: str, names: Iterable[str]) -> None:
        self._word, self._names, self._turn = word, frozenset(names), 0

    @property
    def hidden(self) -> str:
        return self._word

    def hear(self, utterance: str) -> Reply:
        self._turn += 1
        last = self._turn >= TURNS
        guess = guessed(utterance)
        if guess == self._word:
            return Reply("right", 1.0 - COST, True)
        if guess in self._names:
            return Reply("no", -COST, last)
        if utterance in QUESTIONS:
            return Reply("yes" if holds(self._word, QUESTIONS.index(utterance)) else "no", -COST, last)
        return Reply("what", -COST, last)

    def snapshot(self) -> int:
        return self._turn

    def restore(self, state: int) -> None:
        self._turn = state


def holds(word: str, question: int) -> bool:
    """Whether the answer is yes."""
    return WORDS[word][question] == "1"


def guess_of(word: str) -> str:
    return f"is it a {word} ?"


def guessed(utterance: str) -> str | None:
    """The word that is guessed, if that is what an utterance does."""
    words = utterance.split(" ")
    return words[3] if len(words) == 5 and words[:3] == ["is", "it", "a"] and words[4] == "?" else None


class TwentyQ(Conversation):
    name: ClassVar[str] = "twentyq"
    turns = TURNS
    end: ClassVar[str] = "?"
    success: ClassVar[str] = "right"
    worst: ClassVar[float] = -COST * TURNS

    def __init__(self, level: int = 1) -> None:
        self.level = self.check_level(level)
        self.names = tuple(itertools.islice(WORDS, _WORDS[level]))
        spoken = dict.fromkeys(w for text in (*QUESTIONS, "is it a") for w in text.split())
        self.tokenizer: Tokenizer = WordTokenizer(
            [*spoken, *self.names, "yes", "no", "right", "what", "guess", ":"], end="?"
        )
        self.max_new = TURNS * (self.utterance + 1)

    @property
    def utterance(self) -> int:
        return max(len(q.split()) for q in QUESTIONS)

    def problem(self, word: str) -> Prompt:
        return Prompt("guess :", guess_of(word), word, {"word": word})

    def everything(self) -> list[Prompt]:
        return [self.problem(word) for word in self.names]

    def counterpart(self, prompt: Prompt) -> Thinker:
        return Thinker(prompt.meta["word"], self.names)

    def missed(self, prompt: Prompt) -> str:
        return f"it was a {prompt.meta['word']}"

    # -- askers -------------------------------------------------------------------------------------------------

    def conversations(self, n: int, seed: int, slips: float = 0.0) -> list[tuple[Prompt, list[str]]]:
        """Random askers: at every turn any question that was not asked yet, or, one time in four and at the last
        turn, a guess that agrees with all answers so far. Careless ones guess any word."""
        source = random.Random(f"{self.label}/{self.level}/askers/{seed}")
        found = []
        for _ in range(n):
            word, careless = source.choice(self.names), source.random() < slips
            left, said = list(self.names), []
            questions = source.sample(range(len(QUESTIONS)), len(QUESTIONS))
            for turn in range(TURNS):
                if turn == TURNS - 1 or source.random() < 0.25:
                    guess = source.choice(self.names if careless else left)
                    said.append(guess_of(guess))
                    if guess == word:
                        break
                    left = [w for w in left if w != guess]
                else:
                    question = questions.pop()
                    said.append(QUESTIONS[question])
                    left = [w for w in left if holds(w, question) == holds(word, question)]
            found.append((self.problem(word), said))
        return found

    def best(self, prompt: Prompt) -> list[str]:
        """What the optimal asker says."""
        word, left, said = prompt.meta["word"], frozenset(self.names), []
        for turn in range(TURNS):
            move = _plan(left, TURNS - turn)[1]
            if isinstance(move, str):
                said.append(guess_of(move))
                if move == word:
                    break
                left -= {move}
            else:
                said.append(QUESTIONS[move])
                left = frozenset(w for w in left if holds(w, move) == holds(word, move))
        return said

    def optimum(self) -> float:
        """Return of the optimal asker, over all words: what no asker can exceed."""
        return _plan(frozenset(self.names), TURNS)[0]


@cache
def _plan(left: frozenset[str], turns: int) -> tuple[float, int | str]:
    """The best expected return with these words left, each as likely, and so many turns; and what to do.

    Where the word is certain, or no turn is left after this one, guess; else the best of all questions that split
    the words, and of guesses. (Which of several words is guessed matters for what is left: all are tried where few are
    left, and one where it cannot pay to guess early.)
    """
    if not turns:
        return 0.0, 0
    names = sorted(left)
    options: list[tuple[float, int | str]] = []
    for name in names if len(names) <= 4 else names[:1]:
        rest = _plan(left - {name}, turns - 1)[0] if len(names) > 1 else 0.0
        options.append((-COST + (1.0 + (len(names) - 1) * rest) / len(names), name))
    for question in range(len(QUESTIONS)):
        yes = frozenset(w for w in names if holds(w, question))
        if 0 < len(yes) < len(names):
            no = left - yes
            after = sum(len(part) * _plan(part, turns - 1)[0] for part in (yes, no)) / len(names)
            options.append((-COST + after, question))
    return max(options, key=lambda o: (o[0], str(o[1])))
