"""Plain sampling and best of n: a language model fitted to demonstrations, and the choice among n of its answers.

    n = 1                 plain sampling: one answer at the given temperature
    choose = "vote"       the answer that most of the n samples come to, whatever their working (self-consistency)
    choose = "likely"     the answer of the highest mean log-probability per token

The baselines that methods which spend more on an answer are measured against. Fitting is supervised on the task's
demonstrations; no verifier is asked when choosing.

Source: Wang et al. 2022 (2203.11171) for the vote; best of n by likelihood as in Chen et al. 2021 (2107.03374), sec. 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from actrix.errors import ActrixError
from actrix.language.sampler import Sampling
from actrix.language.tasks.base import Prompt, Task
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.language import LanguageLearner, LessonFeed
from actrix.search import select
from actrix.spec import TokenSpec


@dataclass(frozen=True)
class Config:
    model: str = "tiny"  # mini, tiny, small or medium (our transformer, from scratch), or hf:PATH
    n: int = 8  # samples per answer; 1 is plain sampling
    choose: str = "vote"  # vote or likely
    lessons: int = 20  # supervised batches per round
    batch: int = 64  # demonstrations per batch
    imitate_rate: float = 2e-3  # Adam learning rate, falling to zero as a cosine
    temperature: float = 1.0  # of sampling


@system("best-of-n", family="language", paper="2203.11171", acts=("tokens",))
class BestOfN(LanguageLearner):
    feed = LessonFeed

    def __init__(self, spec: TokenSpec, config: Config) -> None:
        super().__init__(spec, config)
        if config.choose not in ("vote", "likely") or config.n < 1:
            raise ActrixError("--choose is vote or likely, and --n at least 1", misuse=True)
        self.optimise(imitate=(self.actor, Adam(config.imitate_rate, clip_norm=1.0)))

    def attempts(self, task: Task, prompts: list[Prompt], n: int, seed: int) -> list[str]:
        size = self.config.n
        encoded = [task.tokenizer.encode(p.text) for p in prompts]
        samples = self.speak(encoded, Sampling(task.max_new, self.config.temperature, n=n * size), seed)
        texts = [task.tokenizer.decode(tokens) for tokens in samples.completions()]
        sums, counts = samples.logp_behaviour_BL.sum(1), samples.lengths_B - samples.prompt_lengths_B
        likely = (sums / counts).tolist()
        answers = []
        for i in range(0, len(texts), size):
            group, scores = texts[i : i + size], likely[i : i + size]
            ballots = [task.conclusion(text) for text in group]
            answers.append(group[select(ballots, scores, "vote" if self.config.choose == "vote" else "best")])
        return answers
