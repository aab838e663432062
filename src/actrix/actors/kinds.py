"""Actors by name: what a method is given that works with any class of policy."""

from __future__ import annotations

from collections.abc import Sequence

from actrix.actors.autoregressive import Autoregressive
from actrix.actors.base import Actor
from actrix.actors.deterministic import Deterministic
from actrix.actors.generative import Generative
from actrix.actors.stochastic import stochastic
from actrix.errors import ActrixError
from actrix.nets.processes import Diffusion, Flow
from actrix.spec import Spec

PROPOSING = ("gaussian", "autoregressive", "diffusion", "flow")  # those with several `candidates`
KINDS = (*PROPOSING, "deterministic")


def actor_of(
    kind: str,
    spec: Spec,
    hidden: Sequence[int],
    steps: int = 10,
    proposals: int = 1,
    kinds: Sequence[str] = KINDS,
) -> Actor:
    """An actor that can `imitate`, one of `kinds`: gaussian (one learned standard deviation per action, the mean within
    the bounds), and in boxes with bounds autoregressive, deterministic, diffusion or flow (of so many `steps`; so many
    `proposals` with fixed noise). Where actions are choices, gaussian is categorical."""
    if kind not in kinds:
        raise ActrixError(f"--actor is {', '.join(kinds)}, not {kind!r}", misuse=True)
    if kind == "autoregressive":
        return Autoregressive(spec, hidden)
    if kind == "diffusion":
        return Generative(spec, hidden, Diffusion(steps), steps, churn=1.0, clip=1.0, samples=proposals)
    if kind == "flow":
        return Generative(spec, hidden, Flow(), steps, samples=proposals)
    if kind == "deterministic" and spec.action_kind == "box":
        return Deterministic(spec, hidden)
    return stochastic(spec, hidden, activation="relu", bounded=True)
