"""Off-policy conversations: what was said is kept utterance by utterance, and learned from again and again."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from actrix.data.batches import Steps, Utterances
from actrix.data.replay import Ring
from actrix.errors import ActrixError
from actrix.language.programs import program_of
from actrix.language.sampler import Samples, Sampling
from actrix.language.tasks.base import Talks
from actrix.language.tokens import pad_right
from actrix.language.traces import Trace, rows
from actrix.rng import seed_of, torch_stream
from actrix.run.feeds import Setting
from actrix.run.language import LanguageFeed, LanguageLearner, told
from actrix.run.learner import Learner


class UtteranceFeed(LanguageFeed):
    """Converse, keep the utterances, learn from them: critics from what was said, actors from what they would say now.

    A round plays `prompts` conversations and is one step of the budget. Then come `critic_steps` batches of kept
    utterances (`Utterances`, phase "critic"), each with an utterance that today's policy makes in the same state, and,
    after `critic_warmup` rounds, `actor_steps` batches of states with fresh utterances (`Steps`, phase "actor"), which
    go through the learner's `prepare`. The config gives these and capacity, batch, temperature.
    """

    converses = True

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        task, config = self.task, self.config
        if not isinstance(task, Talks):
            raise ActrixError(
                f"the task {task.label!r} is no conversation",
                "use --task twentyq or house, or a system such as grpo",
                misuse=True,
            )
        self.role = program_of(task).role
        context: int = setting.learner.spec.context  # type: ignore[attr-defined]
        layout: dict[str, tuple[tuple[int, ...], Any]] = {
            "tokens": ((context,), np.int32), "start": ((), np.int32), "stop": ((), np.int32),
            "length": ((), np.int32), "reward": ((), np.float32), "terminated": ((), np.bool_),
        }  # fmt: skip
        most = config.prompts * task.turns  # utterances of a round
        every = (setting.total_steps + 1) * most
        # two checkpoints are kept: neither may be overwritten by what follows it
        overwrites = setting.folder is not None and every > config.capacity
        slack = 2 * (setting.checkpoint_every + 1) * most if overwrites else 0
        capacity = min(config.capacity, every)
        self.ring = Ring(layout, capacity, setting.folder, slack)

    @classmethod
    def plan(cls, config: Any, steps: int) -> tuple[float, int]:
        return steps * (config.critic_steps + config.actor_steps), config.batch * 64

    def round(self, learner: Learner) -> Iterator[tuple[Any, Hashable]]:
        assert isinstance(learner, LanguageLearner)
        config, progress, task = self.config, self.progress, self.task
        prompts = task.prompts("train", config.prompts, seed_of(self.seed, "prompts", progress.steps))
        traces = learner.play(task, prompts, seed_of(self.seed, "speak", progress.steps), 1, config.temperature)
        self.store(traces)
        steps, places = rows(traces, self.role, task.tokenizer.pad)
        progress.steps += 1
        for trace in traces:
            length = sum(len(m.tokens) for m in trace.messages if m.role == self.role)
            progress.episodes.append((progress.steps, sum(trace.rewards.values()), length))
        progress.traces += told(traces, places, steps, task, progress.steps)
        for i in range(config.critic_steps):
            with torch_stream(self.seed, "replay", progress.steps, i):
                columns = self.ring.columns(self.ring.draw(config.batch))
            fresh = self.speak(learner, columns, seed_of(self.seed, "fresh", progress.steps, i))
            yield self.utterances(columns, fresh), "critic"
        for i in range(config.actor_steps if progress.steps > config.critic_warmup else 0):
            with torch_stream(self.seed, "states", progress.steps, i):
                columns = self.ring.columns(self.ring.draw(config.batch))
            fresh = self.speak(learner, columns, seed_of(self.seed, "act", progress.steps, i))
            yield learner.prepare(spoken_steps(fresh)), "actor"

    def store(self, traces: list[Trace]) -> None:
        """Keeps every utterance of the role with its state, its reward and what was answered."""
        found = []
        for trace in traces:
            for index, message in enumerate(trace.messages):
                if message.role != self.role:
                    continue
                replies = trace.children(index)
                whole = trace.context(replies[0] if replies else index)
                stop = len(trace.context(index))
                over = not any(trace.children(r) for r in replies)
                found.append((whole, stop - len(message.tokens), stop, trace.rewards[index], over))
        tokens, start, stop_, reward, over_ = zip(*found)
        context = self.ring.columns(torch.empty(0, dtype=torch.long))["tokens"].shape[1]
        self.ring.add(
            tokens=np.array(pad_right(tokens, self.task.tokenizer.pad, context), np.int32),
            start=np.array(start, np.int32), stop=np.array(stop_, np.int32),
            length=np.array([len(t) for t in tokens], np.int32),
            reward=np.array(reward, np.float32), terminated=np.array(over_),
        )  # fmt: skip

    def speak(self, learner: LanguageLearner, columns: dict[str, Tensor], seed: int) -> Samples:
        """What today's policy says in the states of these rows."""
        states = [row[:n] for row, n in zip(columns["tokens"].tolist(), columns["start"].tolist())]
        return learner.speak(states, Sampling(self.task.utterance, self.config.temperature), seed)

    def utterances(self, columns: dict[str, Tensor], fresh: Samples) -> Utterances:
        longest = int(columns["length"].max())
        numbers = {name: columns[name].long() for name in ("start", "stop", "length")}
        return Utterances(
            columns["tokens"][:, :longest].long(), **numbers, reward=columns["reward"],
            terminated=columns["terminated"], fresh=fresh.tokens_BL, fresh_stop=fresh.lengths_B,
            total=torch.tensor(len(fresh)),
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        return {**super().state(), "ring": self.ring.state()}

    def load(self, state: dict[str, Any]) -> None:
        super().load(state)
        self.ring.load(state["ring"])


def spoken_steps(samples: Samples) -> Steps:
    """Sampled completions as rows, each a group of its own. Their credit is still to come."""
    mask = samples.action_mask_BL
    zeros, none = torch.zeros_like(samples.logp_behaviour_BL), torch.zeros_like(mask)
    steps = Steps(
        samples.tokens_BL, samples.tokens_BL, samples.logp_behaviour_BL, zeros, none, none, mask,
        group=torch.arange(len(samples)), length=samples.lengths_B, total=mask.sum(), rows=mask.any(1).sum(),
    )  # fmt: skip
    last = torch.arange(mask.shape[1]) == (samples.lengths_B - 1)[:, None]
    ended = samples.ended_B[:, None]
    return replace(steps, terminated=last & ended, truncated=last & ~ended)
