"""How good a model is at a task: pass@k without bias, with bootstrap intervals over the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from actrix.errors import ActrixError
from actrix.language.model import LanguageModel
from actrix.language.sampler import Samples, Sampling, generate
from actrix.language.tasks.base import Prompt, Split, Task, Verdict
from actrix.rng import numpy_stream


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts, with a 95 % percentile bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class TaskScore:
    """The result of `evaluate_task`. Everything but pass@k is a mean over all completions."""

    pass_at: dict[int, Estimate]
    score: Estimate  # the verifier's
    components: dict[str, float]  # parts of the score
    length: float  # tokens per completion, end token included
    ended: float  # share that ended by themselves
    prompts: int
    samples: int  # per prompt


def pass_at_k(samples: NDArray[np.int64], correct: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """Probability that at least one of k completions is right, per prompt, from c right ones among n >= k.

    1 - C(n - c, k) / C(n, k), the unbiased estimator of Chen et al. (2107.03374), as a product of ratios.
    """
    n, c = np.asarray(samples, dtype=np.int64), np.asarray(correct, dtype=np.int64)
    if k < 1 or (n < k).any() or (c > n).any() or (c < 0).any():
        raise ActrixError(f"pass@{k} needs at least {k} samples per prompt", "take more samples, or a smaller k")
    step = np.arange(k)
    left = np.clip(n[..., None] - c[..., None] - step, 0, None) / (n[..., None] - step)
    chance: NDArray[np.float64] = 1.0 - left.prod(-1)
    return chance


def bootstrap(values: NDArray[np.float64], seed: int = 0, resamples: int = 2000) -> Estimate:
    """The mean of one value per prompt, prompts resampled with replacement."""
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        raise ActrixError("an estimate needs at least one prompt")
    source = numpy_stream(seed, "language/bootstrap")
    means = np.array([values[source.integers(len(values), size=len(values))].mean() for _ in range(resamples)])
    low, high = np.quantile(means, (0.025, 0.975))
    return Estimate(float(values.mean()), float(low), float(high))


def judge(task: Task, prompts: Sequence[Prompt], samples: Samples) -> list[Verdict]:
    """A verdict per row; `samples` were generated from these prompts, in this order."""
    owners = samples.prompt_B.tolist()
    texts = [task.tokenizer.decode(tokens) for tokens in samples.completions()]
    return [task.verify(prompts[owner], text) for owner, text in zip(owners, texts)]


def evaluate_task(
    model: LanguageModel,
    task: Task,
    k: int | Sequence[int] = 1,
    n_prompts: int = 128,
    seed: int = 0,
    *,
    samples: int | None = None,
    temperature: float = 1.0,
    split: Split = "test",
) -> TaskScore:
    """pass@k for each k, from `samples` completions (default: the largest k, at least 4) of each of n_prompts.

    A row without a verdict is an error here: bundled verifiers always give one. At temperature 0 one sample is
    taken, and only k = 1 makes sense.
    """
    ks = (k,) if isinstance(k, int) else tuple(k)
    if temperature == 0 and max(ks) > 1:
        raise ActrixError("greedy decoding gives the same completion every time, so only pass@1 makes sense")
    count = 1 if temperature == 0 else max(*ks, 4) if samples is None else samples
    prompts = task.prompts(split, n_prompts, seed)
    settings = Sampling(max_new=task.max_new, temperature=temperature, n=count)
    encoded = [task.tokenizer.encode(p.text) for p in prompts]
    rows = generate(model, encoded, settings, eos=task.tokenizer.eos, pad=task.tokenizer.pad, seed=seed)
    verdicts = judge(task, prompts, rows)
    if any(v.score is None for v in verdicts):
        raise ActrixError(f"the verifier of task {task.label!r} gave no verdict on some completions")
    correct = np.array([v.correct for v in verdicts]).reshape(n_prompts, count).sum(1)
    score = np.array([v.score for v in verdicts], dtype=np.float64).reshape(n_prompts, count).mean(1)
    names = verdicts[0].components
    return TaskScore(
        pass_at={each: bootstrap(pass_at_k(np.full(n_prompts, count), correct, each), seed) for each in ks},
        score=bootstrap(score, seed),
        components={name: float(np.mean([v.components[name] for v in verdicts])) for name in names},
        length=float((rows.lengths_B - rows.prompt_lengths_B).double().mean()),
        ended=float(rows.ended_B.double().mean()),
        prompts=n_prompts,
        samples=count,
    )
