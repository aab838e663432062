"""Search guided by a critic: a tree with statistics, selection rules, and the choice among finished candidates."""

from actrix.search.select import agreement, select
from actrix.search.tree import Node, Tree, uct
from actrix.search.worth import Weights, worth

__all__ = ["Node", "Tree", "Weights", "agreement", "select", "uct", "worth"]
