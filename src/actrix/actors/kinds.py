"""The stochastic actors for boxes with bounds, by name: what a method for any class of policy is given."""

from __future__ import annotations

from collections.abc import Sequence

from actrix.actors.autoregressive import Autoregressive
from actrix.actors.base import Actor
from actrix.actors.gaussian import Gaussian
from actrix.errors import ActrixError
from actrix.spec import Spec

KINDS = ("gaussian", "autoregressive")


def actor_of(kind: str, spec: Spec, hidden: Sequence[int], steps: int = 10) -> Actor:
    """gaussian (one learned standard deviation per action, mean within the bounds) or autoregressive. All of them can
    `imitate`, and propose `candidates`."""
    if kind == "gaussian":
        return Gaussian(spec, hidden, activation="relu", bounded=True)
    if kind == "autoregressive":
        return Autoregressive(spec, hidden)
    raise ActrixError(f"--actor is {', '.join(KINDS)}, not {kind!r}", misuse=True)
