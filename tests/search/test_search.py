"""Trees, selection and budgets against figures worked out by hand."""

from __future__ import annotations

import math

import pytest

from actrix.budget import Budget, Spent
from actrix.errors import ActrixError
from actrix.search import Tree, Weights, agreement, select, uct, worth
from actrix.search.worth import terms


def grown() -> Tree[str]:
    """root -> a (60) -> c (-20), d (80, finished later); root -> b (-40)."""
    tree: Tree[str] = Tree("root")
    tree[0].reward = 10.0
    tree.backup(0, 10.0)
    for parent, action, reward in ((0, "a", 60.0), (0, "b", -40.0), (1, "c", -20.0)):
        index = tree.add(parent, action, action)
        tree[index].reward = reward
        tree.backup(index, reward)
    return tree


def test_backup_counts_along_the_path_only() -> None:
    tree = grown()
    assert [n.visits for n in tree.nodes] == [4, 2, 1, 1]
    assert [n.total for n in tree.nodes] == [10.0, 40.0, -40.0, -20.0]
    assert [n.mean for n in tree.nodes] == [2.5, 20.0, -40.0, -20.0]
    assert tree.path(3) == [0, 1, 3]
    assert list(tree.walk()) == [0, 1, 3, 2]
    tree.backup(3, None)
    assert [n.visits for n in tree.nodes] == [4, 2, 1, 1], "no verdict is no zero"
    tree.backup(3, 8.0, discount=0.5)
    assert [n.total for n in tree.nodes] == [12.0, 44.0, -40.0, -12.0]


def test_open_nodes() -> None:
    tree = grown()
    assert tree.open(widest=2, deepest=9) == [1, 2, 3]
    assert tree.open(widest=3, deepest=2) == [0, 1, 2]
    tree[2].terminal = True
    tree[3].duplicate = True
    assert tree.open(widest=3, deepest=9) == [0, 1]
    with pytest.raises(ActrixError):
        tree.add(2, "x", "x")


def test_uct() -> None:
    assert uct(3.0, 0, 5) == math.inf
    assert uct(3.0, 4, 10, 2.0) == pytest.approx(3.0 + 2.0 * math.sqrt(math.log(10) / 4))
    tree = grown()
    tree.add(0, "new", "new")
    assert worth(tree, 4) == math.inf


def test_the_score_of_a_high_leaf_and_of_a_low_one() -> None:
    tree = grown()
    tree[3].reward = 60.0
    high = terms(tree, 3)
    assert high["high leaf"] == 50.0
    assert high["depth"] == pytest.approx(-0.8 * math.sqrt(2))
    assert high["explore"] == pytest.approx(math.sqrt(math.log(2)))
    assert worth(tree, 3) == pytest.approx(60 + 50 - 0.8 * math.sqrt(2) + math.sqrt(math.log(2)))
    tree[3].reward = -20.0  # low, and its parent is high
    low = terms(tree, 3)
    assert low["high parent"] == 70.0
    assert low["high leaf"] == 0.0
    assert "high parent" not in terms(tree, 2), "its parent, the root, is not high"


def test_the_score_of_a_node_with_children() -> None:
    tree = grown()
    assert terms(tree, 1)["bad child"] == 5.0 * (60 - -20)
    tree.add(1, "d", "c")
    tree[4].reward = 80.0
    tree[4].duplicate = True
    found = terms(tree, 1)
    assert "bad child" not in found
    assert found["very high child"] == -5.0
    assert found["duplicate child"] == -25.0
    assert found["duplicate action"] == -50.0
    assert found["finished"] == 0.0
    tree[4].terminal, tree[4].reward = True, 100.0
    assert terms(tree, 1)["finished"] == terms(tree, 0)["finished"] == -50.0
    assert terms(tree, 2)["finished"] == 0.0


def test_corrections_and_diversity() -> None:
    tree = grown()
    for node in tree.nodes:
        node.correctable = True
    assert terms(tree, 0)["correction"] == 50 / (1 + 2**2)
    assert "correction" not in terms(tree, 1)
    alike = {("c", "root"): 0.5, ("c", "a"): 0.25}
    found = terms(tree, 3, similarity=lambda x, y: alike[x, y])
    assert found["diversity"] == pytest.approx(100 * (1 - 0.375))
    assert "diversity" not in terms(tree, 3)


def test_weights_of_zero_leave_the_value() -> None:
    tree = grown()
    tree[1].reward = 60.0
    none = Weights(explore=0, depth=0, high_leaf=0, bad_child=0, very_high_child=0, high_parent=0, finished=0)
    assert [worth(tree, i, none) for i in range(4)] == [10.0, 60.0, -40.0, -20.0]
    mean = Weights(mean=True, explore=0, depth=0, high_leaf=0, bad_child=0, very_high_child=0, high_parent=0)
    assert [worth(tree, i, mean) for i in range(4)] == [2.5, 20.0, -40.0, -20.0]


def test_select() -> None:
    assert select("abca", [1.0, 3.0, 2.0, 3.0]) == 1
    assert select("abc", [None, -2.0, None]) == 1, "no verdict is not a zero"
    assert select("abc", [None, None, None]) == 0
    assert select("abc", [math.nan, 1.0, 0.0]) == 1
    assert select("abcb", mode="vote") == 1
    assert select("abc", mode="vote") == 0
    assert select("abcb", [0.9, 0.5, 0.1, 0.5], mode="weighted") == 1
    assert select("abcb", [1.1, 0.5, 0.1, 0.5], mode="weighted") == 0
    assert select("abc", [0.0, 1.0, 2.0], mode="first") == 0
    with pytest.raises(ActrixError):
        select("")
    with pytest.raises(ActrixError):
        select("ab", [1.0])
    with pytest.raises(ActrixError):
        select("ab")


def test_agreement() -> None:
    assert agreement([["a", "a", "b"], ["x", "y", "y"], ["p", "q", "r"]]) == [2, 2, 1]


def test_budget() -> None:
    budget = Budget(calls=3, tokens=100)
    assert budget.left()
    budget.spend(calls=2, tokens=60, judgements=7)
    assert budget.left()
    assert budget.left(calls=1)
    assert not budget.left(calls=2)
    assert budget.left(steps=10**9)
    budget.spend(calls=2)
    assert not budget.left()
    assert (budget.spent - Spent(seconds=budget.spent.seconds)).calls == 4
    assert budget.spent.judgements == 7
    assert not Budget(seconds=0.0).left()
    with pytest.raises(ActrixError, match="judgements"):
        Budget(dollars=3)
    with pytest.raises(ActrixError):
        Budget(calls=-1)
    with pytest.raises(ActrixError):
        Budget(calls=math.nan)
