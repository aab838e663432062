"""A search through the states of a world, guided by a judge that gives a number and says why.

Actor and judge are functions, so any will do: a small model, an endpoint, a simulation with stated error rates. The
mechanism and its source are told in `systems/agent/swe_search.py`, whose Config is what `config` means here.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from actrix.budget import Budget
from actrix.errors import ActrixError
from actrix.language.tasks.base import Opens, Prompt, Task, Verdict, World
from actrix.rng import seed_of
from actrix.search.select import agreement, select
from actrix.search.tree import Tree
from actrix.search.worth import Weights, worth

Propose = Callable[[list[str], int], list[str]]  # the actor: states as it reads them, and a seed -> actions
Judge = Callable[[list[str]], list[Verdict]]  # the value agent


@dataclass
class Search:
    """One problem being searched."""

    world: World
    config: Any
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


def explore(task: Task, prompts: list[Prompt], config: Any, propose: Propose, judge: Judge, seed: int) -> list[Search]:
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
