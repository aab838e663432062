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
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch.nn import functional as F

from actrix.budget import Budget
from actrix.critics.sequence import SequenceCritic
from actrix.data.batches import Judged
from actrix.errors import ActrixError
from actrix.language.convert import shape
from actrix.language.sampler import Sampling
from actrix.language.tasks.base import Opens, Prompt, Task, Verdict, World
from actrix.language.tokens import pad_right
from actrix.optim import Adam
from actrix.registry import system
from actrix.rng import seed_of
from actrix.run.language import LanguageLearner, LessonFeed
from actrix.run.learner import Losses
from actrix.search import Tree, Weights, agreement, select, worth
from actrix.spec import TokenSpec

Propose = Callable[[list[str], int], list[str]]  # the actor: states as it reads them, and a seed -> actions
Judge = Callable[[list[str]], list[Verdict]]  # the value agent
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


@dataclass
class Search:
    """One problem being searched."""

    world: World
    config: Config
    tree: Tree[Any] = field(init=False)
    budget: Budget = field(init=False)
    at: int = 0  # the node being expanded
    widen: int = 0  # children allowed beyond the configured number

    def __post_init__(self) -> None:
        self.tree = Tree(self.world.snapshot())
        self.tree[0].correctable = True
        self.budget = Budget(calls=self.config.calls)

    @property
    def over(self) -> bool:
        done = sum(n.terminal and not n.duplicate for n in self.tree.nodes)
        enough = 1 if self.config.search == "line" else self.config.finished
        return done >= enough or not self.budget.left(calls=1)

    def ask(self) -> str:
        """Selects a node, restores its state, and says what the actor reads."""
        self.at = self.pick()
        node = self.tree[self.at]
        self.world.restore(node.state)
        tries = [self.tree[i] for i in node.children if self.tree[i].reward is not None][-2:]
        told = self.config.feedback and self.config.search == "tree"
        return self.world.text("".join(t.text for t in tries) if told else "")

    def pick(self) -> int:
        """The node to expand."""
        c, tree = self.config, self.tree
        if c.search != "tree":
            last = tree[len(tree) - 1]
            ended = last.terminal or (c.search == "runs" and last.depth >= c.depth)
            return 0 if ended else len(tree) - 1
        while True:
            found = tree.open(c.expansions + self.widen, c.depth)
            if len(tree[0].children) >= c.root_expansions + self.widen:
                found = [i for i in found if i != 0]
            elif 0 not in found:
                found = [0, *found]
            if found:
                return max(found, key=lambda i: (worth(tree, i, Weights(), self.world.likeness), -i))
            self.widen += 1

    def act(self, action: str) -> bool:
        """Carries out the actor's action; False where it is none, and the call was for nothing."""
        self.budget.spend(calls=1)
        if not self.world.edit(action):
            return False
        self.budget.spend(steps=1)
        state = self.world.snapshot()
        equal = any(self.world.likeness(self.tree[i].state, state) == 1.0 for i in self.tree[self.at].children)
        made = self.tree[self.tree.add(self.at, state, action, terminal=self.world.passes == 1.0)]
        made.correctable, made.duplicate = not made.terminal, equal
        return True

    def learn(self, verdict: Verdict, index: int) -> None:
        """Takes the value agent's verdict on a node."""
        node = self.tree[index]
        if verdict.score is not None:
            suspect = int(max(verdict.components, key=lambda k: verdict.components[k]))
            node.reward = round(200 * verdict.score - 100)
            node.text = self.world.hint(node.action, verdict.score, suspect)
        self.budget.spend(judgements=1)
        self.tree.backup(index, node.reward)

    def answer(self, seed: int) -> str:
        """What the search hands in."""
        tree = self.tree
        nodes = [i for i, n in enumerate(tree.nodes) if n.terminal and not n.duplicate] or list(range(len(tree)))
        means = [sum(tree[i].reward or 0.0 for i in tree.path(n)) / (tree[n].depth + 1) for n in nodes]
        scores: list[float | None] = [tree[i].reward for i in nodes]
        if self.config.choose == "debate" and tree[nodes[0]].terminal:
            scores = [agreed + mean / 1000 for agreed, mean in zip(self.debate(nodes, seed), means)]
        self.world.restore(tree[nodes[select(nodes, scores)]].state)
        return self.world.answer

    def debate(self, nodes: list[int], seed: int) -> list[int]:
        """How often each candidate agrees with the majority of the candidates, over all voters' inputs."""

        def say(node: int, ballot: int) -> str:
            self.world.restore(self.tree[node].state)
            return self.world.probe(random.Random(seed_of(seed, "ballot", ballot)))

        return agreement([[say(i, ballot) for i in nodes] for ballot in range(2 * self.config.voters)])


def explore(
    task: Task, prompts: list[Prompt], config: Config, propose: Propose, judge: Judge, seed: int
) -> list[Search]:
    """Searches all problems side by side, one actor call each at a time. Works with any actor and value agent."""
    if not isinstance(task, Opens):
        raise ActrixError(f"the task {task.label!r} is no world to search in", "use --task list-dsl", misuse=True)
    searches = [Search(task.open(p), config) for p in prompts]
    fresh, turn = searches, 0
    while fresh or any(not s.over for s in searches):
        verdicts = judge([s.world.text() for s in fresh]) if fresh else []
        if config.shuffle:
            random.Random(seed_of(seed, "shuffle", turn)).shuffle(verdicts)
        for s, verdict in zip(fresh, verdicts):
            s.learn(verdict, len(s.tree) - 1)
        active = [s for s in searches if not s.over]
        turn += 1
        said = propose([s.ask() for s in active], seed_of(seed, "turn", turn)) if active else []
        fresh = [s for s, action in zip(active, said) if s.act(action)]
    return searches


@system("swe-search", family="agent", paper="2410.20285", acts=("tokens",))
class SWESearch(LanguageLearner):
    feed = LessonFeed
    answers: ClassVar[int] = 1

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
        value = F.binary_cross_entropy_with_logits(out[:, 0], batch.value)
        blamed = (batch.suspect >= 0).float()
        blame = F.cross_entropy(out[:, 1:], batch.suspect.clamp_min(0), reduction="none")
        blame = (blame * blamed).sum() / blamed.sum().clamp_min(1.0)
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
