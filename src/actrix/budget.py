"""What a method may spend, counted: model calls, tokens, environment steps, money, seconds.

    budget = Budget(calls=40)
    while budget.left():
        budget.spend(calls=1, tokens=17)

Arms of a comparison get equal budgets, and `spent` says what each of them really used.
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, fields

from actrix.errors import ActrixError


@dataclass(frozen=True)
class Spent:
    """Amounts of each kind. `calls` are the actor's, `judgements` the critic's: both cost, and both are told."""

    calls: float = 0
    judgements: float = 0
    tokens: float = 0
    steps: float = 0  # of the environment
    money: float = 0.0  # in the currency of the prices
    seconds: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __sub__(self, other: Spent) -> Spent:
        return Spent(*(getattr(self, f.name) - getattr(other, f.name) for f in fields(self)))


class Budget:
    """A meter with limits; a kind without a limit is counted only. Seconds run by themselves."""

    def __init__(self, **limits: float) -> None:
        known = {f.name for f in fields(Spent)}
        for name, value in limits.items():
            if name not in known:
                raise ActrixError(f"a budget counts {', '.join(sorted(known))}, not {name!r}", misuse=True)
            if not value >= 0:
                raise ActrixError(f"a budget of {value} {name} makes no sense", "use 0 or more", misuse=True)
        self.limit = Spent(**{name: limits.get(name, math.inf) for name in known})
        self._used = Spent()
        self._began = time.monotonic()
        self._lock = threading.Lock()  # calls under way at the same time count in one budget

    @property
    def spent(self) -> Spent:
        return self._used + Spent(seconds=time.monotonic() - self._began)

    def spend(self, **amounts: float) -> None:
        """Counts what was used. What is used is used: going over a limit is seen in `left`, not an error."""
        with self._lock:
            self._used += Spent(**amounts)

    @property
    def rest(self) -> Spent:
        """What is left of each kind; infinite where there is no limit, negative where more was used."""
        return self.limit - self.spent

    def left(self, **wanted: float) -> bool:
        """Whether so much more is allowed of the kinds named; without names, whether anything is left of every kind."""
        rest = self.rest
        if wanted:
            return all(getattr(rest, name) >= amount for name, amount in wanted.items())
        return all(getattr(rest, f.name) > 0 for f in fields(rest))
