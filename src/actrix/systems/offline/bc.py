"""Behaviour cloning: do what was done.

Supervised learning of the recorded actions; rewards are not looked at. What it learns is the average of whoever acted,
and small errors carry it to states that nobody has shown it.

    gaussian, choices  actor = -mean log pi(a|s)
    deterministic      actor = mean |mu(s) - a|^2

The Gaussian has one learned standard deviation per action, and a mean within the bounds of the box.
Source: Pomerleau 1989, ALVINN; analysed in Ross & Bagnell 2010, Efficient Reductions for Imitation Learning.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from actrix.actors.base import Actor
from actrix.actors.deterministic import Deterministic
from actrix.actors.stochastic import stochastic
from actrix.data.batches import Transitions
from actrix.errors import ActrixError
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.learner import Learner, Losses
from actrix.run.offline import DatasetFeed
from actrix.spec import Spec


@dataclass(frozen=True)
class Config:
    actor: str = "gaussian"  # gaussian or deterministic (boxes with bounds); choices are always categorical
    hidden: tuple[int, ...] = (256, 256)  # units of each hidden layer
    rate: float = 3e-4  # Adam learning rate
    weight_decay: float = 0.0  # decoupled, per unit of learning rate
    batch: int = 256  # transitions per update


@system(
    "bc", family="offline", paper="ALVINN", acts=("box", "unbounded box", "discrete", "multidiscrete", "multibinary")
)
class BC(Learner):
    feed = DatasetFeed

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        if config.actor not in ("gaussian", "deterministic"):
            raise ActrixError(f"--actor is gaussian or deterministic, not {config.actor!r}", misuse=True)
        self.actor: Actor
        if config.actor == "deterministic" and spec.action_kind == "box":
            self.actor = Deterministic(spec, config.hidden)
        else:
            self.actor = stochastic(spec, config.hidden, activation="relu", bounded=True)
        self.optimise(actor=(self.actor, Adam(config.rate, weight_decay=config.weight_decay)))

    def losses(self, batch: Transitions, phase: Hashable = None) -> Losses:
        return Losses(actor=self.actor.imitate(batch.obs, batch.action))
