"""Behaviour cloning: do what was done.

Supervised learning of the recorded actions; rewards are not looked at. What it learns is the average of whoever acted,
and small errors carry it to states that nobody has shown it.

    gaussian, choices  actor = -mean log pi(a|s)
    deterministic      actor = mean |mu(s) - a|^2
    flow               actor = mean |v(s, x, t) - (a - e)|^2,  x = t a + (1 - t) e,  e ~ N(0, 1), t ~ U(0, 1)
    diffusion          actor = mean |n(s, x, k) - e|^2,  x = alpha_k a + sigma_k e, k ~ U(1, ..., denoising_steps)

The Gaussian has one learned standard deviation per action, and a mean within the bounds of the box. Where the data go
either way round, its mean goes between; a flow and a diffusion go one way or the other. These two draw noise whenever
they act, also in evaluation; `mode="mean"`, and what is exported, has the same noise at every step.
Source: Pomerleau 1989, ALVINN; analysed in Ross & Bagnell 2010, Efficient Reductions for Imitation Learning.
diffusion: Ho et al. 2020 (2006.11239), as a policy Chi et al. 2023, Diffusion Policy (2303.04137); flow: Lipman et al.
2023, Flow Matching (2210.02747).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from actrix.actors.base import Actor
from actrix.actors.deterministic import Deterministic
from actrix.actors.generative import Generative
from actrix.actors.stochastic import stochastic
from actrix.data.batches import Transitions
from actrix.errors import ActrixError
from actrix.nets.processes import Diffusion, Flow
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.learner import Learner, Losses
from actrix.run.offline import DatasetFeed
from actrix.spec import Spec

ACTORS = ("gaussian", "deterministic", "diffusion", "flow")


@dataclass(frozen=True)
class Config:
    actor: str = "gaussian"  # gaussian; deterministic, diffusion or flow in boxes with bounds; choices have their own
    denoising_steps: int = 10  # of a diffusion or flow, from noise to an action
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
        self.actor: Actor
        if config.actor not in ACTORS:
            raise ActrixError(f"--actor is {', '.join(ACTORS)}, not {config.actor!r}", misuse=True)
        if config.actor == "deterministic" and spec.action_kind == "box":
            self.actor = Deterministic(spec, config.hidden)
        elif config.actor == "diffusion":
            process = Diffusion(config.denoising_steps)
            self.actor = Generative(spec, config.hidden, process, config.denoising_steps, churn=1.0, clip=1.0)
        elif config.actor == "flow":
            self.actor = Generative(spec, config.hidden, Flow(), config.denoising_steps)
        else:
            self.actor = stochastic(spec, config.hidden, activation="relu", bounded=True)
        self.optimise(actor=(self.actor, Adam(config.rate, weight_decay=config.weight_decay)))

    def losses(self, batch: Transitions, phase: Hashable = None) -> Losses:
        return Losses(actor=self.actor.imitate(batch.obs, batch.action))
