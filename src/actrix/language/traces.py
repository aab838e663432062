"""What was said: a `Trace` is an append-only graph of messages, and `rows` makes training rows of it.

A message holds the very tokens that were sampled, with their log-probabilities and how they were sampled. Text is
never tokenised again: a context is the tokens of a path, one message after the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from actrix.data.batches import Steps
from actrix.errors import ActrixError
from actrix.language.sampler import Sampling
from actrix.language.tasks.base import Verdict
from actrix.language.tokens import Tokenizer

TASK = "task"  # the role of a trace's first message


@dataclass(frozen=True)
class Message:
    """One utterance. Messages of the world have no log-probabilities: they were not drawn."""

    parent: int  # index of the message that it answers; -1: none
    role: str  # who speaks
    tokens: tuple[int, ...]  # end token included where it was drawn
    logp: tuple[float, ...] = ()  # of each token under the distribution that it was drawn from, nats; 0 where given
    given: int = 0  # leading tokens that the speaker did not choose: a cue, or what was kept of another message
    ended: bool = True  # by itself, and not because it was as long as it may be
    settings: Sampling | None = None
    version: int = 0  # of the weights


class Trace:
    """Messages, and what was thought of them. Both are only ever added to."""

    def __init__(self, tokens: Sequence[int]) -> None:
        """`tokens` of the problem, as the players see it."""
        self.messages: list[Message] = [Message(-1, TASK, tuple(tokens))]
        self.verdicts: dict[int, Verdict] = {}
        self.rewards: dict[int, float] = {}  # of a message; NaN: no verdict
        self._children: list[list[int]] = [[]]

    def __len__(self) -> int:
        return len(self.messages)

    def __getitem__(self, index: int) -> Message:
        return self.messages[index]

    def add(self, message: Message) -> int:
        """Appends a message; its index."""
        if not 0 <= message.parent < len(self):
            raise ActrixError(f"message {message.parent} cannot be answered: there are {len(self)} messages")
        if message.logp and len(message.logp) != len(message.tokens):
            raise ActrixError(f"{len(message.logp)} log-probabilities for {len(message.tokens)} tokens")
        self.messages.append(message)
        self._children.append([])
        self._children[message.parent].append(len(self) - 1)
        return len(self) - 1

    def judge(self, index: int, verdict: Verdict) -> None:
        """Records a verdict on a message."""
        if index in self.verdicts:
            raise ActrixError(f"message {index} has a verdict already: traces are only added to")
        self.verdicts[index] = verdict

    def reward(self, index: int, value: float | None) -> None:
        """Records the reward of a message. None, no verdict, becomes NaN, and is left out of baselines."""
        value = math.nan if value is None else value
        if index in self.rewards:
            raise ActrixError(f"message {index} has a reward already: traces are only added to")
        self.rewards[index] = value

    def children(self, index: int) -> list[int]:
        return list(self._children[index])

    def path(self, index: int) -> list[int]:
        """Indices from the first message to this one."""
        found = [index]
        while self.messages[found[-1]].parent >= 0:
            found.append(self.messages[found[-1]].parent)
        return found[::-1]

    def context(self, index: int) -> list[int]:
        """Tokens of the path to this message, itself included: what is seen by whoever answers it."""
        return [token for i in self.path(index) for token in self.messages[i].tokens]

    def walk(self, index: int = 0) -> Iterator[int]:
        """All messages from this one on, depth first, siblings in the order in which they were added."""
        stack = [index]
        while stack:
            index = stack.pop()
            yield index
            stack += reversed(self._children[index])

    def leaves(self) -> list[int]:
        """The ends of all branches, depth first."""
        return [i for i in self.walk() if not self._children[i]]

    def lasts(self, role: str) -> list[int]:
        """The last message of a role on every branch that has any, depth first."""
        held = set()
        for index in (i for i in self.walk() if self.messages[i].role == role):
            held |= {i for i in self.path(index)[:-1] if self.messages[i].role == role}
        return [i for i in self.walk() if self.messages[i].role == role and i not in held]

    def branch(self, leaf: int) -> Trace:
        """The path to a message as a trace of its own."""
        path = self.path(leaf)
        new = Trace(self.messages[0].tokens)
        for place, index in enumerate(path[1:]):
            old = self.messages[index]
            values = {k: getattr(old, k) for k in ("role", "tokens", "logp", "given", "ended", "settings", "version")}
            new.add(Message(place, **values))
        new.verdicts = {path.index(i): v for i, v in self.verdicts.items() if i in path}
        new.rewards = {path.index(i): v for i, v in self.rewards.items() if i in path}
        return new

    def said(self, tokenizer: Tokenizer, leaf: int) -> str:
        """The text of a branch after the problem."""
        return tokenizer.decode(self.context(leaf)[len(self.messages[0].tokens) :])


@dataclass(frozen=True)
class Place:
    """Where a message is in a batch of rows."""

    trace: int
    message: int
    row: int
    start: int  # column of its first token


def rows(traces: Sequence[Trace], role: str, pad: int) -> tuple[Steps, list[Place]]:
    """Training rows of the messages of one role: a row for each branch, up to the role's last message on it.

    The role's own tokens are the action steps, by their places alone; `segment` numbers its messages within a row, and
    a message's reward is at its last token. A message that several branches share is trained in the first of them.
    Rows of a trace are a group. Places are given of all messages in a row, those of others included.
    """
    branches = [(t, leaf, trace.path(leaf)) for t, trace in enumerate(traces) for leaf in trace.lasts(role)]
    if not branches:
        raise ActrixError(f"nobody of the role {role!r} said anything in these {len(traces)} traces")
    count = [sum(len(traces[t][index].tokens) for index in path) for t, _, path in branches]
    shape = len(branches), max(count)
    tokens, segment, mask = np.full(shape, pad), np.full(shape, -1), np.zeros(shape, bool)
    logp, reward = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    trained: set[tuple[int, int]] = set()
    places: list[Place] = []
    for row, (t, _, path) in enumerate(branches):
        start = spoken = 0
        for index in path:
            message = traces[t][index]
            stop = start + len(message.tokens)
            places.append(Place(t, index, row, start))
            tokens[row, start:stop] = message.tokens
            if message.role == role:
                if message.logp:
                    logp[row, start:stop] = message.logp
                segment[row, start:stop] = spoken
                mask[row, start + message.given : stop] = (t, index) not in trained
                if stop > start and index in traces[t].rewards:
                    reward[row, stop - 1] = traces[t].rewards[index]
                trained.add((t, index))
                spoken += 1
            start = stop
    table, action_mask, lengths = torch.from_numpy(tokens), torch.from_numpy(mask), torch.tensor(count)
    ended = torch.tensor([traces[t][leaf].ended for t, leaf, _ in branches])
    last = torch.arange(shape[1]) == (lengths - 1)[:, None]
    steps = Steps(
        table, table, torch.from_numpy(logp), torch.from_numpy(reward), last & ended[:, None], last & ~ended[:, None],
        action_mask, group=torch.tensor([t for t, _, _ in branches]), length=lengths,
        segment=torch.from_numpy(segment), total=action_mask.sum(), rows=action_mask.any(1).sum(),
    )  # fmt: skip
    return steps, places


def shown(
    trace: Trace, tokenizer: Tokenizer, step: int, advantages: Mapping[int, Sequence[float]] | None = None
) -> dict[str, Any]:
    """A trace as the report shows it; `advantages` of the tokens of messages, by the message's index.

    A single answer is shown by itself, anything else as a tree of messages.
    """
    advantages = advantages or {}

    def told(index: int) -> dict[str, Any]:
        message = trace[index]
        drawn, credit = bool(message.logp), advantages.get(index)
        pieces = [tokenizer.decode([token]) for token in message.tokens]
        # where tokens are words, the spaces between them belong to none
        words = list(filter(None, pieces))
        gap = " " if len(words) > 1 and tokenizer.decode(message.tokens) == " ".join(words) else ""
        tokens = [
            {
                "text": (piece or "⏎") + gap * (i + 1 < len(pieces)),
                "advantage": 0.0 if credit is None else float(credit[i]),
                "logp": message.logp[i] if drawn else 0.0,
                "action": drawn and i >= message.given,
            }
            for i, piece in enumerate(pieces)
        ]
        verdict = trace.verdicts.get(index)
        found: dict[str, Any] = {"tokens": tokens}
        if verdict is not None:
            found |= {"score": verdict.score, "parts": dict(verdict.components), "verdict": verdict.text}
        return found

    prompt = tokenizer.decode(trace[0].tokens)
    if len(trace) == 2:
        return {"step": step, "prompt": prompt, "score": None, "parts": {}, **told(1)}
    order = list(trace.walk())
    messages = []
    for index in order[1:]:
        reward = trace.rewards.get(index)
        message = trace[index]
        about = {"role": message.role, "parent": order.index(message.parent) - 1, **told(index)}
        before = [i for i in trace.path(index)[:-1] if trace[i].role == message.role]
        if message.given and before:  # (a turn of a conversation has no cue)
            about["revises"] = order.index(before[-1]) - 1
        if reward is not None and not math.isnan(reward):
            about["reward"] = reward
        messages.append(about)
    return {"step": step, "prompt": prompt, "messages": messages, "score": _score(trace)}


def _score(trace: Trace) -> float | None:
    """What the whole trace is ranked by: the mean over its branches of the sum of rewards."""
    sums = [sum(trace.rewards.get(i, 0.0) for i in trace.path(leaf)) for leaf in trace.leaves()]
    known = [s for s in sums if not math.isnan(s)]
    return sum(known) / len(known) if known else None
