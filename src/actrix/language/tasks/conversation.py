"""What tasks share that are conversations: a transcript is verified by having the conversation again."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from actrix.errors import ActrixError
from actrix.language.tasks.base import Counterpart, Prompt, Reply, Split, Task, Verdict

LONGEST = 2000  # characters of a transcript that are read


class Conversation(Task):
    """A task with a counterpart. What is said after the problem are utterances, each of at most `utterance` words the
    last of which is `end`, and after each the counterpart's reply.

    A subclass gives `turns`, `end`, `success` (the reply to the utterance that succeeds), `worst`, `counterpart`,
    `everything` and `best`.
    """

    turns: int  # utterances in a conversation, at most
    end: ClassVar[str]
    success: ClassVar[str]
    worst: ClassVar[float] = 0.0  # what a transcript is worth whose replies are not the counterpart's

    @abstractmethod
    def counterpart(self, prompt: Prompt) -> Counterpart: ...

    @abstractmethod
    def everything(self) -> list[Prompt]:
        """All problems. They are the same in training and in testing."""

    @abstractmethod
    def best(self, prompt: Prompt) -> list[str]:
        """What somebody says who does well."""

    def missed(self, prompt: Prompt) -> str:
        """What to tell people of a conversation without success."""
        return "no success"

    def prompts(self, split: Split, n: int, seed: int) -> list[Prompt]:
        return self._drawn(split, n, seed, "prompts")

    def _problems(self, split: Split, n: int, seed: int, purpose: str) -> list[tuple[Prompt, str]]:
        return [(p, self.transcript(p, self.best(p))) for p in self._drawn(split, n, seed, purpose)]

    def _drawn(self, split: Split, n: int, seed: int, purpose: str) -> list[Prompt]:
        """Every problem equally often, as far as n allows, in random order."""
        if split not in ("train", "test"):
            raise ActrixError(f"a task has the splits train and test, not {split!r}", misuse=True)
        source = random.Random(f"{self.label}/{self.level}/{split}/{purpose}/{seed}")
        every, found = self.everything(), list[Prompt]()
        while len(found) < n:
            found += source.sample(every, len(every))
        return found[:n]

    def draw(self, random: random.Random) -> tuple[Prompt, str]:
        prompt = random.choice(self.everything())
        return prompt, self.transcript(prompt, self.best(prompt))

    def transcript(self, prompt: Prompt, utterances: Iterable[str]) -> str:
        """What is said after the problem, if these are the utterances."""
        partner = self.counterpart(prompt)
        return " ".join(f"{text} {partner.hear(text).text}" for text in utterances)

    def replay(self, prompt: Prompt, completion: str) -> tuple[list[Reply], bool]:
        """Replies to the utterances of a transcript; and whether it holds the very replies that were given."""
        words, partner = completion.split(), self.counterpart(prompt)
        replies: list[Reply] = []
        said: list[str] = []
        place = 0
        while place < len(words) and not (replies and replies[-1].over):
            said.append(words[place])
            place += 1
            if said[-1] == self.end or len(said) == self.utterance:
                replies.append(partner.hear(" ".join(said)))
                said = []
                told = replies[-1].text.split()
                if words[place : place + len(told)] != told:
                    return replies, False
                place += len(told)
        return replies, place == len(words) and not said and bool(replies)

    def verify(self, prompt: Prompt, completion: str) -> Verdict:
        """Format: the share of utterances that were understood. Correct: it ends in success.

        The score is a tenth for the format, the rest for success. A transcript whose replies are not the
        counterpart's is worth nothing.
        """
        replies, true = self.replay(prompt, completion[:LONGEST])
        share = sum(r.text != "what" for r in replies) / len(replies) if true else 0.0
        right = float(true and replies[-1].text == self.success)
        text = "" if right else self.missed(prompt) if true else "not what was said"
        return Verdict(0.1 * share + 0.9 * right, {"format": share, "correct": right}, text)

    def value(self, prompt: Prompt, completion: str, judged: Verdict) -> float:
        """The return."""
        replies, true = self.replay(prompt, completion)
        return sum(r.reward for r in replies) if true else self.worst
