"""Learning from what may follow the prefixes of answers: a critic of them, then the steps that come next."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from actrix.data.batches import Steps, counted, groups_of, whole_groups
from actrix.errors import ActrixError
from actrix.language.sampler import Sampling
from actrix.language.steps import Segments
from actrix.language.tasks.base import Prompt
from actrix.language.tokens import pad_right
from actrix.language.traces import Message, Trace, shown
from actrix.rng import seed_of, torch_stream
from actrix.run.feeds import Setting
from actrix.run.language import LanguageFeed, LanguageLearner
from actrix.run.learner import Learner


@dataclass(frozen=True)
class State:
    """A problem and some whole steps of an answer to it, after which there are more."""

    prompt: Prompt
    tokens: tuple[int, ...]  # prompt included
    begun: int  # tokens of the answer among them


@dataclass(frozen=True)
class Drawn:
    """What the policy said in a state, to the end of the answer."""

    tokens: tuple[int, ...]
    logp: tuple[float, ...]  # of each token, nats
    correct: bool  # the answer, with what stood in the state


class PrefixFeed(LanguageFeed):
    """From prefixes of answers by one policy at a time: today's, when a round begins. A round is a step of the budget.

    Each of `prompts` problems is solved `group` times; `keep` of the solutions, as many right as wrong ones where there
    are enough of both, are cut into steps (`Task.marks`). A prefix of whole steps is a state, and is continued
    `completions` times. Then come
    - phase "critic", `critic_epochs` passes over the kept solutions, about `batch` at a time: `target` is the share of
      a state's completions that are right, in the column in which the state's next step begins, and `action_mask` holds
      these columns (of a prefix that solutions share, in the first of them);
    - after `learner.prepare`, `epochs` passes over the different steps that a state's completions begin with, `batch`
      states at a time: a row is a state (its group) and a step, which is the action; where nothing follows it, it is
      `terminated`, and `reward` is 1 for a right answer. `groups` is the number of states.

    The config gives all of these, and temperature. Nothing of a round is kept for the next.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        for name in ("prompts", "group", "keep", "completions", "batch"):
            if getattr(self.config, name) < 1:
                raise ActrixError(f"--{name} must be at least 1, not {getattr(self.config, name)}", misuse=True)
        self.segments = Segments(self.task.tokenizer, self.task.marks)

    @classmethod
    def plan(cls, config: Any, steps: int) -> tuple[float, int]:
        rows = config.prompts * min(config.keep, config.group)
        return steps * (config.critic_epochs + 4 * config.epochs) * rows / config.batch, config.batch * 64

    def round(self, learner: Learner) -> Iterator[tuple[Any, Hashable]]:
        assert isinstance(learner, LanguageLearner)
        config, progress = self.config, self.progress
        prompts = self.task.prompts("train", config.prompts, seed_of(self.seed, "prompts", progress.steps))
        starts = [State(p, tuple(self.task.tokenizer.encode(p.text)), 0) for p in prompts]
        solutions = self.say(learner, starts, config.group, "solve")
        kept = [balanced(each, config.keep) for each in solutions]
        judged, states = self.prefixes(starts, kept)
        follows = self.say(learner, states, config.completions, "complete")
        right = [sum(c.correct for c in each) / len(each) for each in follows]
        target = torch.zeros(judged.obs.shape)
        target[judged.action_mask] = torch.tensor(right)  # states are in the order of the mask
        spoken = [c for each in (*solutions, *follows) for c in each]
        share = sum(s.correct for each in solutions for s in each) / (config.prompts * config.group)
        progress.episodes.append((progress.steps + 1, share, sum(len(c.tokens) for c in spoken)))
        yield from self.parts(replace(judged, target=target), "critic", config.critic_epochs, len(judged))
        with torch_stream(self.seed, "prepare", progress.steps):
            steps = learner.prepare(self.beginnings(states, follows))
        progress.steps += 1
        progress.traces += [self.told(steps, row) for row in range(min(2, len(steps)))]
        if len(steps):
            yield from self.parts(steps, None, config.epochs, groups_of(steps))

    def say(self, learner: LanguageLearner, states: Sequence[State], n: int, name: str) -> list[list[Drawn]]:
        """n completions of each state, none longer than its answer may become."""
        task = self.task
        found: list[list[Drawn]] = [[] for _ in states]
        alike: dict[int, list[int]] = defaultdict(list)
        for i, state in enumerate(states):
            alike[state.begun].append(i)
        for begun, places in alike.items():
            settings = Sampling(task.utterance - begun, self.config.temperature, n=n)
            seed = seed_of(self.seed, name, self.progress.steps, begun)
            samples = learner.speak([list(states[i].tokens) for i in places], settings, seed)
            logp, starts = samples.logp_behaviour_BL.tolist(), samples.prompt_lengths_B.tolist()
            for row, said in enumerate(samples.completions()):
                state, start = states[places[row // n]], starts[row]
                answer = task.tokenizer.decode([*state.tokens[len(state.tokens) - begun :], *said])
                correct = task.verify(state.prompt, answer).correct
                found[places[row // n]].append(Drawn(tuple(said), tuple(logp[row][start : start + len(said)]), correct))
        return found

    def prefixes(self, starts: Sequence[State], kept: Sequence[Sequence[Drawn]]) -> tuple[Steps, list[State]]:
        """The solutions as rows whose mask holds where states end, and the states in the order of the mask."""
        rows, masks, groups, states = [], [], [], []
        for group, (start, solutions) in enumerate(zip(starts, kept)):
            seen: set[tuple[int, ...]] = set()
            for solution in solutions:
                mask = [False] * (len(start.tokens) + len(solution.tokens))
                for begun in self.segments.starts(solution.tokens):
                    tokens = start.tokens + solution.tokens[:begun]
                    if tokens not in seen:
                        seen.add(tokens)
                        mask[len(tokens)] = True
                        states.append(State(start.prompt, tokens, begun))
                rows.append(start.tokens + solution.tokens)
                masks.append(mask)
                groups.append(group)
        return self.steps(rows, masks, groups), states

    def beginnings(self, states: Sequence[State], follows: Sequence[Sequence[Drawn]]) -> Steps:
        """The different first steps of each state's completions."""
        rows, masks, groups, logp, ended, right = [], [], [], [], [], []
        for group, (state, drawn) in enumerate(zip(states, follows)):
            seen: set[tuple[int, ...]] = set()
            for each in drawn:
                n = self.segments.first(each.tokens)
                if each.tokens[:n] in seen:
                    continue
                seen.add(each.tokens[:n])
                rows.append(state.tokens + each.tokens[:n])
                masks.append([False] * len(state.tokens) + [True] * n)
                logp.append([0.0] * len(state.tokens) + list(each.logp[:n]))
                ended.append(n == len(each.tokens))
                right.append(each.correct)
                groups.append(group)
        steps = self.steps(rows, masks, groups)
        assert steps.length is not None
        at, last, over = torch.arange(len(rows)), steps.length - 1, torch.tensor(ended)
        reward, terminated = torch.zeros(steps.obs.shape), torch.zeros_like(steps.action_mask)
        reward[at, last] = (over & torch.tensor(right)).float()
        terminated[at, last] = over
        return replace(steps, logp_behaviour=torch.tensor(pad_right(logp, 0.0)), reward=reward, terminated=terminated)

    def steps(self, rows: list[tuple[int, ...]], masks: list[list[bool]], groups: list[int]) -> Steps:
        tokens = torch.tensor(pad_right(rows, self.task.tokenizer.pad))
        zeros, none = torch.zeros(tokens.shape), torch.zeros(tokens.shape, dtype=torch.bool)
        return Steps(
            tokens, tokens, zeros, zeros, none, none, torch.tensor(pad_right(masks, False)),
            group=torch.tensor(groups), length=torch.tensor([len(row) for row in rows]),
        )  # fmt: skip

    def parts(self, steps: Steps, phase: Hashable, epochs: int, size: int) -> Iterator[tuple[Steps, Hashable]]:
        """Passes over groups that are left whole, `size` in all, about `batch` at a time."""
        for epoch in range(epochs):
            order = torch.randperm(
                groups_of(steps), generator=self.stream(f"shuffle {phase}", self.progress.steps, epoch)
            )
            for part in whole_groups(steps, math.ceil(size / self.config.batch), order):
                part = counted(part)
                if part.total:
                    yield replace(part, groups=torch.tensor(groups_of(part))), phase

    def told(self, steps: Steps, row: int) -> dict[str, Any]:
        """A state and a step as the report shows them."""
        assert steps.length is not None
        assert steps.advantage is not None
        stop = int(steps.length[row])
        start = stop - int(steps.action_mask[row].sum())
        trace = Trace(steps.obs[row, :start].tolist())
        said, logp = steps.obs[row, start:stop].tolist(), steps.logp_behaviour[row, start:stop].tolist()
        trace.add(Message(0, "actor", tuple(said), tuple(logp)))
        return shown(trace, self.task.tokenizer, self.progress.steps, {1: steps.advantage[row, start:stop].tolist()})


def balanced(drawn: Sequence[Drawn], keep: int) -> list[Drawn]:
    """The first `keep` of some answers, as many right as wrong ones, or as near to that as there are."""
    right, wrong = [d for d in drawn if d.correct], [d for d in drawn if not d.correct]
    share = min(len(right), max(keep // 2, keep - len(wrong)))
    return [*right[:share], *wrong[: keep - share]]
