"""How much a node of a tree is worth expanding: UCT with the bonuses and penalties of SWE-Search.

Everything is in the units of the value, which is in [-100, 100]: a value in [0, 1] would drown in the bonuses.
Source: Antoniades et al. 2024, SWE-Search (2410.20285); terms and defaults as in the authors' code
(aorwall/moatless-tree-search, selector). It scores all expandable nodes at once, rather than going down from the root.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from actrix.search.tree import Tree, uct

S = TypeVar("S")


@dataclass(frozen=True)
class Weights:
    """Terms of the score, in value units. A weight of 0 takes its term out."""

    exploit: float = 1.0  # of the value
    mean: bool = False  # the value is the mean of what was backed up, rather than the node's own
    explore: float = 1.0  # of sqrt(ln N_parent / N)
    depth_bonus: float = 0.0  # of the root, times exp(depth)
    depth: float = 0.8  # penalty times sqrt(depth); and the rate in the root's bonus
    high: float = 50.0  # what counts as a high value,
    low: float = 0.0  # ... a low one,
    very_high: float = 75.0  # ... a very high one
    high_leaf: float = 50.0  # bonus: high, and no child yet
    bad_child: float = 5.0  # bonus per unit of difference: high, and a single child that is low
    very_high_child: float = 5.0  # penalty: a child is very high, look elsewhere
    high_parent: float = 1.0  # bonus per unit below `high`: low, no child yet, and the parent is high or not judged
    finished: float = 50.0  # penalty: a descendant has finished with 100
    correction: float = 50.0  # bonus / (1 + children^2): the first on its path with something to put right
    diversity: float = 100.0  # bonus times 1 - mean similarity to the other expanded nodes
    duplicate_child: float = 25.0  # penalty times the square of the number of children that are duplicates
    duplicate_action: float = 50.0  # penalty times (m - 1)^2 for every action that m children share


def worth(
    tree: Tree[S],
    index: int,
    weights: Weights | None = None,
    similarity: Callable[[S, S], float] | None = None,
) -> float:
    """The score of one node; infinite for a node that nobody visited.

    similarity: of two states, in [0, 1]; None takes the diversity bonus out.
    """
    return math.inf if not tree[index].visits else sum(terms(tree, index, weights, similarity).values())


def terms(
    tree: Tree[S],
    index: int,
    weights: Weights | None = None,
    similarity: Callable[[S, S], float] | None = None,
) -> dict[str, float]:
    """The score's terms by name, penalties negative, for a node that was visited."""
    w = weights or Weights()
    node = tree[index]
    parent = tree[node.parent] if node.parent >= 0 else None
    value = w.exploit * (node.mean if w.mean else (node.reward or 0.0))
    rewards = [r for i in node.children if (r := tree[i].reward) is not None]
    leaf = not node.children
    found = {
        "value": value,
        "explore": uct(0.0, node.visits, parent.visits if parent else 1, w.explore),
        "depth bonus": w.depth_bonus * math.exp(w.depth) if parent is None else 0.0,
        "depth": -w.depth * math.sqrt(node.depth),
        "high leaf": w.high_leaf * (leaf and (node.reward or 0.0) >= w.high),
    }
    if len(rewards) == len(node.children) == 1 and value >= w.high and rewards[0] <= w.low:
        found["bad child"] = w.bad_child * (value - rewards[0])
    found["very high child"] = -w.very_high_child * (max(rewards, default=0.0) >= w.very_high)
    if leaf and parent is not None and (parent.reward is None or parent.reward > w.high) and value <= w.low:
        found["high parent"] = w.high_parent * (w.high - value)
    below = (tree[i] for i in tree.walk(index) if i != index)
    found["finished"] = -w.finished * any(n.terminal and (n.reward or 0.0) >= 100.0 for n in below)
    if node.correctable and not (parent is not None and parent.correctable):
        found["correction"] = w.correction / (1 + len(node.children) ** 2)
    if similarity is not None and w.diversity:
        others = [n.state for i, n in enumerate(tree.nodes) if n.children and i != index]
        alike = sum(similarity(node.state, other) for other in others) / len(others) if others else 0.0
        found["diversity"] = w.diversity * (1 - alike)
    found["duplicate child"] = -w.duplicate_child * sum(tree[i].duplicate for i in node.children) ** 2
    shared = Counter(tree[i].action for i in node.children)
    found["duplicate action"] = -w.duplicate_action * sum((m - 1) ** 2 for m in shared.values())
    return found
