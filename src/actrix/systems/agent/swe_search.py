"""SWE-Search: tree search over an agent's edits, guided by a value agent that gives a number and says why.

A node is a state of the world (its snapshot), reached by one action of the agent. Until the calls are spent:

    select       the expandable node of the highest score: value + explore sqrt(ln N_parent / N) + bonuses - penalties
    expand       restore its snapshot, let the actor propose an action, told what became of earlier tries from here
                 (hindsight feedback: the action, its value, the part the value agent blames)
    evaluate     the value agent reads the new state: a value in [-100, 100] and a text
    back up      visits + 1 and total + value along the path
    at the end   among finished states a discriminator decides: voters run new inputs, and the state that agrees with
                 the majority most often wins; ties go to the higher mean value of the path

The value agent sees what the actor sees, never the hidden tests. Here the actor is a small language model fitted to
repairs, and the value agent a regressor of the share of hidden tests that a state passes; both are trained on
generated lessons, and `eval` searches. `search` takes the mechanism out: "line" is a single run of the agent, "runs"
starts again at the root, independently, each time a run has ended.

Source: Antoniades et al. 2024 (2410.20285) and the authors' code, aorwall/moatless-tree-search; `actrix.search.worth`
has the score's terms. The authors' agents are prompted models; their debate is here a vote by running programs.

The small models have not been seen to learn this yet (one short trial, single-pass repair below 1 %); the recorded
claim searches with simulated agents of stated error rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn import functional as F

from actrix.critics.sequence import SequenceCritic
from actrix.data.batches import Judged
from actrix.errors import ActrixError
from actrix.language.convert import shape
from actrix.language.sampler import Sampling
from actrix.language.tasks.base import Prompt, Task, Verdict
from actrix.language.tokens import pad_right
from actrix.objectives import reduce
from actrix.optim import Adam
from actrix.registry import system
from actrix.rng import seed_of
from actrix.run.language import LanguageLearner, LessonFeed
from actrix.run.learner import Losses
from actrix.search.guided import Judge, Propose, explore
from actrix.spec import TokenSpec

PARTS = 6  # that the value agent can blame


@dataclass(frozen=True)
class Config:
    model: str = "mini"  # shape of the actor and of the value agent: mini, tiny, small or medium
    lessons: int = 20  # supervised batches per round, for each of the two
    batch: int = 64  # rows per batch
    imitate_rate: float = 2e-3  # Adam learning rate of the actor, falling to zero as a cosine
    critic_rate: float = 2e-3  # ... of the value agent
    search: str = "tree"  # tree, line (a single run) or runs (independent runs)
    calls: int = 20  # actor calls per problem
    feedback: bool = True  # tell the actor what became of earlier tries from the same state
    choose: str = "debate"  # among finished states: debate (by running them) or value
    finished: int = 3  # finished states after which a search ends
    expansions: int = 3  # children of a node, until the tree is full
    root_expansions: int = 5  # children of the root
    depth: int = 6  # most edits from the root
    temperature: float = 1.0  # of the actor
    voters: int = 5  # of the discriminator, two new inputs each
    shuffle: bool = False  # control: values of other states (a search without its critic)


@system("swe-search", family="agent", paper="2410.20285", acts=("tokens",))
class SWESearch(LanguageLearner):
    feed = LessonFeed
    answers: ClassVar[int] = 1
    home: ClassVar[str] = "list-dsl"

    def __init__(self, spec: TokenSpec, config: Config) -> None:
        super().__init__(spec, config)
        if config.search not in ("tree", "line", "runs") or config.choose not in ("debate", "value"):
            raise ActrixError("--search is tree, line or runs, and --choose debate or value", misuse=True)
        self.critic = SequenceCritic(shape(config.model, spec.vocab, spec.context), 1 + PARTS)
        self.optimise(
            imitate=(self.actor, Adam(config.imitate_rate, clip_norm=1.0)),
            critic=(self.critic, Adam(config.critic_rate, clip_norm=1.0)),
        )

    def objective(self, batch: Judged) -> Losses:
        out = self.critic(batch.tokens, batch.length)
        every, blamed = torch.ones_like(batch.value)[:, None], (batch.suspect >= 0)[:, None]
        value = F.binary_cross_entropy_with_logits(out[:, 0], batch.value, reduction="none")
        value = reduce(value[:, None], every, "token", batch.total)
        blame = F.cross_entropy(out[:, 1:], batch.suspect.clamp_min(0), reduction="none")
        blame = reduce(blame[:, None], blamed, "token", batch.blamed)
        return Losses(critic=value + blame).note(value_loss=value.detach(), blame_loss=blame.detach())

    def attempts(self, task: Task, prompts: list[Prompt], n: int, seed: int) -> list[str]:
        every = [p for p in prompts for _ in range(n)]
        searches = explore(task, every, self.config, self.proposer(task), self.judge(task), seed)
        return [s.answer(seed_of(seed, "debate", i)) for i, s in enumerate(searches)]

    def proposer(self, task: Task) -> Propose:
        """The actor: one action, three tokens long, for each state."""
        settings = Sampling(max_new=3, temperature=self.config.temperature)

        def propose(texts: list[str], seed: int) -> list[str]:
            samples = self.speak([task.tokenizer.encode(t) for t in texts], settings, seed)
            return [task.tokenizer.decode(tokens) for tokens in samples.completions()]

        return propose

    def judge(self, task: Task) -> Judge:
        """The value agent: the score is the share of hidden tests that it expects to pass, the components are the
        probabilities that each part is to blame."""

        @torch.no_grad()
        def judge(texts: list[str]) -> list[Verdict]:
            tokens = [task.tokenizer.encode(t) for t in texts]
            rows, lengths = torch.tensor(pad_right(tokens, task.tokenizer.pad)), torch.tensor([len(t) for t in tokens])
            out = self.critic(rows.to(self.device), lengths.to(self.device)).cpu()
            value, blame = out[:, 0].sigmoid().tolist(), out[:, 1:].softmax(-1).tolist()
            return [Verdict(v, {str(k): p for k, p in enumerate(b)}, cost=1.0) for v, b in zip(value, blame)]

        return judge
