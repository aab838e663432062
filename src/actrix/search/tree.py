"""A search tree whose statistics are plain data, and UCT on it.

A node is a state reached by an action. The tree knows nothing of environments: a node carries whatever snapshot
restores its state.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from actrix.errors import ActrixError

S = TypeVar("S")


@dataclass
class Node(Generic[S]):
    """Visits and the sum of the rewards that were backed up through it; `reward` is its own (None: not judged)."""

    state: S  # what restores it
    action: str = ""  # that led here
    parent: int = -1  # index; -1 for the root
    depth: int = 0
    reward: float | None = None
    text: str = ""  # why that reward, in words: what is told to later siblings
    terminal: bool = False
    correctable: bool = False  # what was observed here says that something is to be put right (a test failed)
    duplicate: bool = False  # a sibling that came before has the same state
    visits: int = 0
    total: float = 0.0
    children: list[int] = field(default_factory=list)

    @property
    def mean(self) -> float:
        """Mean of the rewards backed up; 0 before the first."""
        return self.total / self.visits if self.visits else 0.0


class Tree(Generic[S]):
    """Nodes by index, the root first; parents come before their children."""

    def __init__(self, state: S) -> None:
        self.nodes: list[Node[S]] = [Node(state)]

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, index: int) -> Node[S]:
        return self.nodes[index]

    def add(self, parent: int, state: S, action: str, terminal: bool = False) -> int:
        """A new child; its index."""
        if self.nodes[parent].terminal:
            raise ActrixError("a terminal node has no children")
        index = len(self.nodes)
        self.nodes.append(Node(state, action, parent, self.nodes[parent].depth + 1, terminal=terminal))
        self.nodes[parent].children.append(index)
        return index

    def path(self, index: int) -> list[int]:
        """From the root to the node, both included."""
        found = []
        while index >= 0:
            found.append(index)
            index = self.nodes[index].parent
        return found[::-1]

    def backup(self, index: int, reward: float | None, discount: float = 1.0) -> None:
        """Counts a reward at the node and above; discounted once a level. None (no verdict) counts nowhere."""
        if reward is None:
            return
        for i in reversed(self.path(index)):
            self.nodes[i].visits += 1
            self.nodes[i].total += reward
            reward *= discount

    def open(self, widest: int, deepest: int) -> list[int]:
        """Nodes that may get another child: not terminal, fewer than `widest` children, above `deepest`."""
        return [
            i
            for i, node in enumerate(self.nodes)
            if not node.terminal and not node.duplicate and len(node.children) < widest and node.depth < deepest
        ]

    def walk(self, index: int = 0) -> Iterator[int]:
        """The subtree's nodes, parents first."""
        yield index
        for child in self.nodes[index].children:
            yield from self.walk(child)


def uct(value: float, visits: int, parent_visits: int, weight: float = math.sqrt(2)) -> float:
    """value + weight * sqrt(ln N_parent / N); infinite where there was no visit (Kocsis and Szepesvari, 2006)."""
    if visits == 0:
        return math.inf
    return value + weight * math.sqrt(math.log(max(parent_visits, 1)) / visits)
