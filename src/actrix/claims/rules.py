"""The language in which a claim says beforehand what must come out: one comparison of numbers made from arms.

    min(sac) >= -220                             the worst seed of the arm `sac`
    min(sac) >= min(ddpg)                        worst seed against worst seed
    low(sac - td3) > 0                           the 95 % interval of the mean difference, paired by seed, excludes 0
    max(apart(s01, s1), apart(s10, s1)) <= 0.15  relative distances of means

Names are arms (one figure per seed); functions make numbers of them. Nothing else can be said, so a rule is data:
it is shown as it stands, hashed as it stands, and evaluated without running anything.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

COMPARE: dict[type, Callable[[float, float], bool]] = {
    ast.GtE: operator.ge, ast.LtE: operator.le, ast.Gt: operator.gt, ast.Lt: operator.lt,
}  # fmt: skip
ARITHMETIC: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}  # fmt: skip


def bounds(values: np.ndarray) -> tuple[float, float]:
    """The 95 % interval of the mean: Student's t below ten figures, bootstrap from ten on. One figure has none."""
    from actrix.evaluate.statistics import interval

    found = interval(values, "student" if len(values) < 10 else "bootstrap")
    return found.low, found.high


def iqm(values: np.ndarray) -> float:
    from actrix.evaluate import statistics

    return float(statistics.iqm(values))


def apart(a: np.ndarray, b: np.ndarray) -> float:
    """|mean(a) - mean(b)| as a fraction of |mean(b)|."""
    return float(abs(np.mean(a) - np.mean(b)) / abs(np.mean(b)))


def trend(*numbers: float) -> float:
    """Rank correlation (Spearman's) of numbers with the order in which they are written: 1 where each is larger than
    the one before."""
    from scipy.stats import spearmanr

    return round(float(spearmanr(range(len(numbers)), numbers).statistic), 9)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "mean": lambda x: float(np.mean(x)),
    "median": lambda x: float(np.median(x)),
    "iqm": iqm,
    "quartile": lambda x: float(np.quantile(x, 0.25, method="higher")),  # a figure that three in four are not below
    "min": lambda *x: float(np.min(x)),  # of an arm's figures, or of several numbers
    "max": lambda *x: float(np.max(x)),
    "low": lambda x: bounds(x)[0],  # lower and upper end of the 95 % interval of the mean
    "high": lambda x: bounds(x)[1],
    "abs": np.abs,
    "apart": apart,
    "trend": trend,
}


@dataclass(frozen=True)
class Finding:
    """A rule with the figures put in."""

    rule: str
    left: float
    right: float
    holds: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def parse(rule: str, arms: Sequence[str]) -> ast.Compare:
    """The syntax tree of a rule; ValueError where it says something that this language has no words for."""
    try:
        tree = ast.parse(rule, mode="eval").body
    except SyntaxError as error:
        raise ValueError(f"rule {rule!r} cannot be read: {error.msg}") from error
    if not isinstance(tree, ast.Compare) or len(tree.ops) != 1 or type(tree.ops[0]) not in COMPARE:
        raise ValueError(f"rule {rule!r} must be one comparison with >=, <=, > or <")
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS or node.keywords:
                raise ValueError(f"rule {rule!r}: functions are {', '.join(FUNCTIONS)}")
        elif isinstance(node, ast.Name):
            if node.id not in arms and node.id not in FUNCTIONS:
                raise ValueError(f"rule {rule!r}: {node.id!r} is neither an arm ({', '.join(arms)}) nor a function")
        elif isinstance(node, ast.BinOp):
            if type(node.op) not in ARITHMETIC:
                raise ValueError(f"rule {rule!r}: only + - * / are understood")
        elif isinstance(node, ast.UnaryOp):
            if not isinstance(node.op, ast.USub):
                raise ValueError(f"rule {rule!r}: only a minus sign may stand before a number")
        elif isinstance(node, ast.Constant):
            if not isinstance(node.value, int | float) or isinstance(node.value, bool):
                raise ValueError(f"rule {rule!r}: {node.value!r} is not a number")
        elif not isinstance(node, ast.Compare | ast.cmpop | ast.operator | ast.unaryop | ast.expr_context):
            raise ValueError(f"rule {rule!r}: {type(node).__name__} has no meaning here")
    return tree


def evaluate(rule: str, figures: Mapping[str, Sequence[float]]) -> Finding:
    """Put the figures of every arm (one per seed, seeds in the same order) into a rule. NaN never holds."""
    tree = parse(rule, list(figures))
    arrays = {name: np.asarray(values, np.float64) for name, values in figures.items()}

    def value(node: ast.expr) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name):
            return arrays[node.id]
        if isinstance(node, ast.UnaryOp):
            return -value(node.operand)
        if isinstance(node, ast.BinOp):
            return ARITHMETIC[type(node.op)](value(node.left), value(node.right))
        assert isinstance(node, ast.Call)
        assert isinstance(node.func, ast.Name)
        return FUNCTIONS[node.func.id](*map(value, node.args))

    sides = [np.asarray(value(side), np.float64) for side in (tree.left, tree.comparators[0])]
    if any(side.ndim for side in sides):
        raise ValueError(f"rule {rule!r} compares all seeds at once: say mean(...), min(...), low(...) of them")
    left, right = float(sides[0]), float(sides[1])
    return Finding(rule, left, right, bool(COMPARE[type(tree.ops[0])](left, right)))
