"""Learning to criticise: a feed of stored answers, critiques of them, and revisions in their light."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from actrix.errors import ActrixError
from actrix.language.programs import At, Players, Refine
from actrix.language.tasks.base import Prompt, Reviews, Task, Verdict
from actrix.language.traces import Trace, rows, shown
from actrix.rng import seed_of
from actrix.run.feeds import Setting
from actrix.run.language import LanguageFeed, LanguageLearner
from actrix.run.learner import Learner


class CritiqueLearner(LanguageLearner):
    """Base of systems whose actor writes critiques of what somebody else, who does not learn, has written."""

    program = Refine()

    def worth(self, stage: int, correct: bool, critique: Verdict, revised: bool | None) -> float:
        """The reward of a critique of an answer that is correct or not; `revised`: whether the revision is correct
        (None in stage 1, where nothing is revised)."""
        raise NotImplementedError

    def anchor(self) -> None:
        """Called once, when stage 2 begins."""

    def appraise(self, task: Task, episodes: int, seed: int) -> tuple[np.ndarray, dict[str, float]]:
        """One score per test problem: whether the answer is right after one critique and revision."""
        prompts = task.prompts("test", episodes, seed)
        players = self.players(task, self.config.temperature)
        return refined(self.program, self.program.play(task, prompts, players, seed))


def refined(program: Refine, traces: Sequence[Trace]) -> tuple[np.ndarray, dict[str, float]]:
    """From traces with a critique and a revision each: whether the revision is right [N], and figures.

    `verdicts` is the balanced accuracy of verdicts: the mean of how many right and how many wrong answers were called
    what they are (NaN if one of the kinds is missing). `mended` and `spoilt` are shares of all problems: wrong answers
    that became right, and right ones that became wrong.
    """
    first, said, after = [], [], []
    for trace in traces:
        answer, critique, revision = trace.path(trace.leaves()[0])[1:4]
        first.append(trace.verdicts[answer].correct)
        said.append(trace.verdicts[critique].correct)
        after.append(trace.verdicts[revision].correct)
    a, v, b = (np.array(x, bool) for x in (first, said, after))
    balanced = float(np.mean([v[a].mean(), v[~a].mean()])) if a.any() and (~a).any() else float("nan")
    figures = {"first": a.mean(), "verdicts": balanced, "mended": (b & ~a).mean(), "spoilt": (a & ~b).mean()}
    return b.astype(float), {k: float(v) for k, v in figures.items()}


class CritiqueFeed(LanguageFeed):
    """Critiques of stored first answers, in two stages.

    Before the first round, `pool` problems are answered once by the learner's player "actor". A round draws `prompts`
    of these answers, as many right as wrong ones, and has each criticised `group` times by the player "critic"; in
    stage 2, which begins after `stage_one` rounds, each is also revised in the light of each critique. The learner says
    what a critique is worth. `shuffle` exchanges, in stage 1, what is known of the answers' correctness (a control).
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        if not isinstance(setting.task, Reviews):
            raise ActrixError(
                f"on the task {self.task.label!r} nobody knows how to criticise", "use --task arith-trace", misuse=True
            )
        self._pool: list[tuple[Prompt, Trace]] = []

    @classmethod
    def plan(cls, config: Any, steps: int) -> tuple[float, int]:
        return steps * config.epochs * config.minibatches, config.prompts * config.group // config.minibatches * 64

    def courses(self) -> Iterator[tuple[str, str, Callable[[int, int], list[Trace]]]]:
        program, task = CritiqueLearner.program, self.task
        if self.config.author == "model":
            yield "author", program.role, lambda n, seed: program.lessons(task, n, seed, self.config.warm_slips)
        yield "imitate", program.critic, lambda n, seed: program.reviews(task, n, seed)

    def round(self, learner: Learner) -> Iterator[tuple[Any, Hashable]]:
        assert isinstance(learner, CritiqueLearner)
        config, progress, task = self.config, self.progress, self.task
        stage = 1 if progress.steps < config.stage_one else 2
        if progress.steps == config.stage_one and config.stage_one:
            learner.anchor()
        players, program = learner.players(task, config.temperature), learner.program
        prompts, traces = self.draw(learner, players)
        critiques = program.criticise(
            task, [(t, 1) for t in traces], players, seed_of(self.seed, "criticise", progress.steps), config.group
        )
        revised: dict[At, bool] = {}
        if stage == 2:
            seed = seed_of(self.seed, "revise", progress.steps)
            revisions = program.revise(task, prompts, traces, critiques, players, seed)
            revised = {at: trace.verdicts[index].correct for at, (trace, index) in zip(critiques, revisions)}
        labels = [trace.verdicts[1].correct for trace in traces]
        if stage == 1 and config.shuffle:
            order = torch.randperm(len(labels), generator=self.stream("labels", progress.steps))
            labels = [labels[i] for i in order.tolist()]
        label = {id(trace): known for trace, known in zip(traces, labels)}
        for trace, index in critiques:
            value = learner.worth(stage, label[id(trace)], trace.verdicts[index], revised.get((trace, index)))
            trace.reward(index, value)
        steps, places = rows(traces, program.critic, task.tokenizer.pad)
        steps = learner.prepare(steps)
        progress.steps += 1
        right = float(np.mean([trace.verdicts[index].correct for trace, index in critiques]))
        progress.episodes.append((progress.steps, right, int(steps.action_mask.sum())))
        if steps.advantage is not None:
            credit = {
                p.message: steps.advantage[p.row, p.start : p.start + len(traces[0][p.message].tokens)].tolist()
                for p in places
                if p.trace == 0 and traces[0][p.message].role == program.critic
            }
            progress.traces.append(shown(traces[0], task.tokenizer, progress.steps, credit))
        yield from self.passes(steps)

    def draw(self, learner: CritiqueLearner, players: Players) -> tuple[list[Prompt], list[Trace]]:
        """Problems with their stored answers, half of them right where there are right and wrong ones."""
        config, task = self.config, self.task
        if not self._pool:  # a function of the seed and of a model that does not learn: nothing of it is saved
            prompts = task.prompts("train", config.pool, seed_of(self.seed, "pool"))
            first = learner.program.attempt(task, prompts, players, seed_of(self.seed, "answers"))
            self._pool = list(zip(prompts, first))
        kinds = [[i for i, (_, t) in enumerate(self._pool) if t.verdicts[1].correct is kind] for kind in (True, False)]
        shares = [config.prompts // 2, config.prompts - config.prompts // 2]
        if not all(kinds):
            kinds, shares = [kinds[0] or kinds[1]], [config.prompts]
        source = self.stream("draw", self.progress.steps)
        picks = [
            kind[int(i)] for kind, n in zip(kinds, shares) for i in torch.randint(len(kind), (n,), generator=source)
        ]
        return [self._pool[i][0] for i in picks], [self._pool[i][1].branch(1) for i in picks]
