"""Language tasks under the same trainer: a learner that speaks, a feed of prompts, an evaluation by pass@k."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from actrix.data.batches import Judged, Steps, counted, whole_groups
from actrix.errors import ActrixError
from actrix.evaluate.statistics import interval
from actrix.language.convert import make_model, pretrained
from actrix.language.evaluate import judge, pass_at_k
from actrix.language.model import LanguageModel
from actrix.language.sampler import Samples, Sampling, generate
from actrix.language.tasks import Task, make_task
from actrix.language.tasks.base import Judges, Prompt, Verdict
from actrix.language.tokens import HuggingFaceTokenizer, pad_right
from actrix.objectives import reduce
from actrix.optim import Adam, Rule
from actrix.rng import seed_of, torch_stream
from actrix.run.engine import EngineOptions, choose
from actrix.run.feeds import Feed, Progress, Setting
from actrix.run.learner import Learner, Losses
from actrix.run.options import RunOptions
from actrix.run.policy import LanguagePolicy
from actrix.spec import TokenSpec


def load_tokenizer(path: str) -> HuggingFaceTokenizer:
    """The tokenizer that lies beside a Hugging Face model."""
    from transformers import AutoTokenizer

    return HuggingFaceTokenizer(AutoTokenizer.from_pretrained(path))


class LanguageLearner(Learner):
    """Base of systems whose actor is a language model. A subclass gives `objective`, and where it needs it `prepare`.

    The config gives: model, temperature, warm_steps, warm_batch, warm_rate, warm_slips, and what the feed asks for.
    """

    actor: LanguageModel  # type: ignore[assignment]
    answers: ClassVar[int] = 4  # independent answers to each prompt of an evaluation

    def __init__(self, spec: TokenSpec, config: Any) -> None:
        super().__init__(spec, config)  # type: ignore[arg-type]
        self.actor = make_model(config.model, spec.vocab, spec.context)

    def optimise(self, **groups: tuple[Iterable[nn.Module | nn.Parameter] | nn.Module, Rule]) -> None:
        """Declare parameter groups; `imitate`, the actor in the warm start, is added where it is not given."""
        if "imitate" not in groups:
            groups["imitate"] = (self.actor, Adam(self.config.warm_rate, clip_norm=1.0))
        super().optimise(**groups)

    def losses(self, batch: Any, phase: Hashable = None) -> Losses:
        return self.imitation(batch) if phase == "imitate" else self.objective(batch)

    def objective(self, batch: Any) -> Losses:
        """The losses of a batch from the feed's rounds."""
        raise NotImplementedError

    def log_prob(self, steps: Steps) -> Tensor:
        """Log-probability [B, T] of every token of the rows at the sampling temperature; 0 at the first token."""
        return self.actor.log_prob(steps.obs, steps.length, self.config.temperature)

    def imitation(self, steps: Steps) -> Losses:
        """Supervised loss on the masked tokens, at temperature 1: the warm start of every language system."""
        logp = self.actor.log_prob(steps.obs, steps.length)
        return Losses(imitate=reduce(-logp, steps.action_mask, "token", steps.total))

    def attempts(self, task: Task, prompts: list[Prompt], n: int, seed: int) -> list[str]:
        """n answers to each problem, problem after problem: one sample each, at temperature 1.

        Methods that spend more on an answer (search, best of n) say here how.
        """
        encoded = [task.tokenizer.encode(p.text) for p in prompts]
        samples = self.speak(encoded, Sampling(max_new=task.max_new, n=n), seed)
        return [task.tokenizer.decode(tokens) for tokens in samples.completions()]

    def speak(
        self, prompts: list[list[int]], settings: Sampling, seed: int, model: LanguageModel | None = None
    ) -> Samples:
        """Completions of encoded prompts, `settings.n` each, by the actor or another model."""
        spec: TokenSpec = self.spec  # type: ignore[assignment]
        with torch.no_grad():
            return generate(model or self.actor, prompts, settings, eos=spec.eos, pad=spec.pad, seed=seed)

    def appraise(self, task: Task, episodes: int, seed: int) -> tuple[np.ndarray, dict[str, float]]:
        """Evaluation: one score per test prompt, whose mean is the run's score, and further figures.

        Here pass@1 and pass@n from `answers` (n) attempts at each prompt.
        """
        n = self.answers
        prompts = task.prompts("test", episodes, seed)
        owners = [p for p in prompts for _ in range(n)]
        texts = self.attempts(task, prompts, n, seed)
        correct = np.array([task.verify(p, text).correct for p, text in zip(owners, texts)]).reshape(-1, n).sum(1)
        scores = {k: pass_at_k(np.full(len(prompts), n), correct, k) for k in sorted({1, n})}
        return scores[1], {f"pass@{k}": float(v.mean()) for k, v in scores.items()}


class LanguageFeed:
    """What feeds of language tasks share: the supervised warm start, and the counters."""

    def __init__(self, setting: Setting) -> None:
        self.task: Task = setting.task
        self.seed, self.config = setting.seed, setting.learner.config
        self.progress = Progress()

    def reset(self) -> None:
        """Nothing carries over between rounds: every round is a barrier."""

    def prelude(self, learner: Learner) -> Iterator[tuple[Any, Hashable, str]]:
        """The supervised warm start: `warm_steps` batches of demonstrations, the rate falling to zero as a cosine."""
        total, size = self.config.warm_steps, self.config.warm_batch
        if not total:
            return
        pool = self.task.demonstrations(
            min(total * size, 20_000), seed_of(self.seed, "demonstrations"), self.config.warm_slips
        )
        rate = learner.optimiser.get_buffer("imitate_rate")
        for i in range(total):
            rate.fill_(self.config.warm_rate * 0.5 * (1 + math.cos(math.pi * i / total)))
            picks = torch.randint(len(pool), (size,), generator=self._generator(i)).tolist()
            yield self._demonstrations([pool[p] for p in picks]), "imitate", f"warm start {i + 1}/{total}"

    def _generator(self, i: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed_of(self.seed, "warm", i))

    def _demonstrations(self, pairs: list[tuple[str, str]]) -> Steps:
        tokenizer = self.task.tokenizer
        prompts = [tokenizer.encode(prompt) for prompt, _ in pairs]
        # (an answer of the greatest length ends by itself)
        answers = [[*tokenizer.encode(answer), tokenizer.eos][: self.task.max_new] for _, answer in pairs]
        rows = [prompt + answer for prompt, answer in zip(prompts, answers)]
        lengths = torch.tensor([len(r) for r in rows])
        tokens = torch.tensor(pad_right(rows, tokenizer.pad))
        starts = torch.tensor([len(p) for p in prompts])
        return token_steps(tokens, starts, lengths)

    def state(self) -> dict[str, Any]:
        return {"steps": self.progress.steps, "updates": self.progress.updates}

    def load(self, state: dict[str, Any]) -> None:
        self.progress.steps, self.progress.updates = int(state["steps"]), int(state["updates"])


class PromptFeed(LanguageFeed):
    """On-policy language: draw prompts, sample a group of answers to each, verify, learn.

    One round is one step of the budget. A minibatch holds whole groups: they are never split.
    """

    @classmethod
    def plan(cls, config: Any, steps: int) -> tuple[float, int]:
        rows = config.prompts * config.group // config.minibatches * 32  # tokens: a round number of a short answer
        return steps * config.epochs * config.minibatches, rows

    def round(self, learner: Learner) -> Iterator[tuple[Any, Hashable]]:
        assert isinstance(learner, LanguageLearner)
        config, progress = self.config, self.progress
        steps, report = self.collect(learner)
        steps = learner.prepare(steps)
        progress.traces += report(steps)
        progress.steps += 1
        for epoch in range(config.epochs):
            order = torch.randperm(
                config.prompts,
                generator=torch.Generator().manual_seed(seed_of(self.seed, "shuffle", progress.steps, epoch)),
            )
            for part in whole_groups(steps, config.minibatches, order):
                yield counted(part), None

    def collect(self, learner: LanguageLearner) -> tuple[Steps, Callable[[Steps], list[dict[str, Any]]]]:
        """Sample and verify one round: `Steps`, and how to make traces of it once credit is known."""
        config, progress, task = self.config, self.progress, self.task
        prompts = task.prompts("train", config.prompts, seed_of(self.seed, "prompts", progress.steps))
        settings = Sampling(max_new=task.max_new, temperature=config.temperature, n=config.group)
        encoded = [task.tokenizer.encode(p.text) for p in prompts]
        samples = learner.speak(encoded, settings, seed_of(self.seed, "speak", progress.steps))
        verdicts = judge(task, prompts, samples)
        score = torch.tensor([math.nan if v.score is None else v.score for v in verdicts])
        steps = token_steps(samples.tokens_BL, samples.prompt_lengths_B, samples.lengths_B)
        rows, last = torch.arange(len(samples)), samples.lengths_B - 1
        reward, terminated = torch.zeros_like(samples.logp_behaviour_BL), torch.zeros_like(steps.terminated)
        reward[rows, last] = score
        terminated[rows, last] = samples.ended_B
        truncated = torch.zeros_like(terminated)
        truncated[rows, last] = ~samples.ended_B
        steps = replace(
            steps,
            logp_behaviour=samples.logp_behaviour_BL,
            reward=reward,
            terminated=terminated,
            truncated=truncated,
            group=samples.prompt_B,
        )
        correct = float(np.mean([v.correct for v in verdicts]))
        progress.episodes.append(
            (progress.steps + 1, correct, int((samples.lengths_B - samples.prompt_lengths_B).sum()))
        )

        def report(credited: Steps) -> list[dict[str, Any]]:
            return [trace(task, prompts, samples, verdicts, credited, i, progress.steps + 1) for i in range(2)]

        return steps, report


def spoken(task: Task, samples: Samples) -> list[str]:
    """The completions of all rows as text."""
    return [task.tokenizer.decode(tokens) for tokens in samples.completions()]


class LessonFeed(LanguageFeed):
    """Supervised language: every round is `lessons` batches of fresh demonstrations for the phase "imitate", and as
    many of judged states for the phase "critic", if the learner has a critic. Rates fall to zero as a cosine.

    The config gives: lessons, batch, and (by name of parameter group) imitate_rate and critic_rate.
    """

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.total = setting.total_steps
        self.critic = "critic" in setting.learner.optimiser.groups
        if self.critic and not isinstance(self.task, Judges):
            raise ActrixError(
                f"the task {self.task.label!r} has no judged states for a critic to learn from",
                "use --task list-dsl",
                misuse=True,
            )

    @classmethod
    def plan(cls, config: Any, steps: int) -> tuple[float, int]:
        return 2 * steps * config.lessons, config.batch * 64

    def prelude(self, learner: Learner) -> Iterator[tuple[Any, Hashable, str]]:
        yield from ()

    def round(self, learner: Learner) -> Iterator[tuple[Any, Hashable]]:
        config, progress, task = self.config, self.progress, self.task
        progress.steps += 1
        share = 0.5 * (1 + math.cos(math.pi * min((progress.steps - 1) / max(self.total, 1), 1.0)))
        for group in learner.optimiser.groups:
            learner.optimiser.get_buffer(f"{group}_rate").fill_(getattr(config, f"{group}_rate") * share)
        n = config.lessons * config.batch
        pairs = task.demonstrations(n, seed_of(self.seed, "lessons", progress.steps))
        judged: list[tuple[str, float, int]] = []
        if self.critic:
            assert isinstance(task, Judges)
            judged = task.judged(n, seed_of(self.seed, "judged", progress.steps))
        for i in range(0, n, config.batch):
            yield self._demonstrations(pairs[i : i + config.batch]), "imitate"
            if judged:
                yield self._judged(judged[i : i + config.batch]), "critic"

    def _judged(self, rows: list[tuple[str, float, int]]) -> Judged:
        tokens = [self.task.tokenizer.encode(text) for text, _, _ in rows]
        suspect = torch.tensor([suspect for _, _, suspect in rows])
        return Judged(
            torch.tensor(pad_right(tokens, self.task.tokenizer.pad)),
            torch.tensor([len(t) for t in tokens]),
            torch.tensor([value for _, value, _ in rows]),
            suspect,
            torch.tensor(len(rows)),
            (suspect >= 0).sum().clamp_min(1),
        )


def token_steps(tokens_BL: Tensor, starts_B: Tensor, lengths_B: Tensor) -> Steps:
    """Rows of tokens as `Steps`: the tokens from `starts` to `lengths` are the actor's own, by length alone."""
    position = torch.arange(tokens_BL.shape[1])
    mask = (position >= starts_B[:, None]) & (position < lengths_B[:, None])
    zeros, no = torch.zeros(tokens_BL.shape), torch.zeros(tokens_BL.shape, dtype=torch.bool)
    return Steps(
        tokens_BL, tokens_BL, zeros, zeros, no, no, mask, length=lengths_B, total=mask.sum(), rows=mask.any(1).sum()
    )


def trace(
    task: Task, prompts: list[Prompt], samples: Samples, verdicts: list[Verdict], steps: Steps, row: int, step: int
) -> dict[str, Any]:
    """One sampled row as the report shows it."""
    start, stop = int(samples.prompt_lengths_B[row]), int(samples.lengths_B[row])
    tokens = [
        {
            "text": task.tokenizer.decode([int(samples.tokens_BL[row, t])]) or "⏎",
            "advantage": 0.0 if steps.advantage is None else float(steps.advantage[row, t]),
            "logp": float(samples.logp_behaviour_BL[row, t]),
            "action": True,
        }
        for t in range(start, stop)
    ]
    verdict = verdicts[row]
    return {
        "step": step,
        "prompt": prompts[int(samples.prompt_B[row])].text,
        "tokens": tokens,
        "score": verdict.score,
        "parts": dict(verdict.components),
    }


class LanguageRegime:
    """A language task, by name and level."""

    unit = "rounds"
    judged = True
    remark = ""

    def __init__(self, options: RunOptions, config: Any) -> None:
        assert options.task is not None
        self.options = options
        self.say: Callable[[str], None] = lambda text: None
        self.task = make_task(options.task, options.level)
        if config.model == "table" and not self.task.answers:
            raise ActrixError(
                f"a table cannot speak on the task {options.task}: it gives one token as its answer",
                "use --model tiny, or --task game:rps",
                misuse=True,
            )
        longest = max(len(self.task.tokenizer.encode(p.text)) for p in self.task.prompts("train", 64, 0))
        path, _ = pretrained(config.model)
        if path:
            self.task = self.task.with_tokenizer(load_tokenizer(path))
            longest = max(len(self.task.tokenizer.encode(p.text)) for p in self.task.prompts("train", 64, 0))
        context = 1 << max(6, (longest + self.task.max_new + 16).bit_length())
        t = self.task.tokenizer
        self.spec = TokenSpec(t.size, context, t.pad, t.eos)

    def learner(self, cls: type[Learner], config: Any, seed: int) -> Learner:
        with torch_stream(seed, "initialise"):
            return cls(self.spec, config).to(self.options.device)  # type: ignore[arg-type]

    def engine(self, learner: Learner, options: RunOptions) -> EngineOptions:
        o = options
        updates, rows = learner.feed.plan(learner.config, o.steps)
        if o.compile == "auto":  # rows differ in length from round to round: every length would be a graph of its own
            o = replace(o, compile="no")
        return choose(o.compile, o.precision, o.threads, o.device, updates, learner, rows)

    def feed(self, learner: Learner, folder: Path | None) -> Feed:
        o = self.options
        return learner.feed(Setting(learner, None, o.seed, None, o.steps, o.checkpoint_every, task=self.task))  # type: ignore[call-arg]

    def evaluate(self, learner: Learner, episodes: int, seed: int) -> dict[str, Any]:
        """What the learner finds worth measuring, by default pass@1 and pass@4, over `episodes` test prompts."""
        assert isinstance(learner, LanguageLearner)
        scores, figures = learner.appraise(self.task, episodes, seed)
        middle = interval(scores)
        return {"scores": scores.tolist(), "mean": middle.value, "low": middle.low, "high": middle.high, **figures}

    def policy(self, learner: Learner) -> LanguagePolicy:
        return LanguagePolicy(learner, self.task)

    def describe(self) -> dict[str, Any]:
        return self.spec.to_json()

    def recognise(self, spec: dict[str, Any]) -> None:
        """A task is known by its name and level."""

    def close(self) -> None:
        """Nothing to let go of."""
