"""Behaviour cloning: do what was done.

Supervised learning of the recorded actions; rewards are not looked at. What it learns is the average of whoever acted,
and small errors carry it to states that nobody has shown it.

    gaussian, choices  actor = -mean log pi(a|s); so also autoregressive: 21 bins of each number, one after the other
    deterministic      actor = mean |mu(s) - a|^2
    flow               actor = mean |v(s, x, t) - (a - e)|^2,  x = t a + (1 - t) e,  e ~ N(0, 1), t ~ U(0, 1)
    diffusion          actor = mean |n(s, x, k) - e|^2,  x = alpha_k a + sigma_k e, k ~ U(1, ..., denoising_steps)

The Gaussian has one learned standard deviation per action, and a mean within the bounds of the box. Where the data go
either way round, its mean goes between; flow, diffusion and bins go one way or the other. These draw whenever they
act, also in evaluation; `mode="mean"`, and what is exported, has the same noise always, or takes the likeliest bins.
Source: Pomerleau 1989, ALVINN; analysed in Ross & Bagnell 2010, Efficient Reductions for Imitation Learning.
diffusion: Ho et al. 2020 (2006.11239), as a policy Chi et al. 2023, Diffusion Policy (2303.04137); flow: Lipman et al.
2023, Flow Matching (2210.02747).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from actrix.actors.kinds import actor_of
from actrix.data.batches import Transitions
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.learner import Learner, Losses
from actrix.run.offline import DatasetFeed
from actrix.spec import Spec


@dataclass(frozen=True)
class Config:
    actor: str = "gaussian"  # in boxes with bounds also deterministic, autoregressive, diffusion, flow (`actors.kinds`)
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
        self.actor = actor_of(config.actor, spec, config.hidden, config.denoising_steps)
        self.optimise(actor=(self.actor, Adam(config.rate, weight_decay=config.weight_decay)))

    def losses(self, batch: Transitions, phase: Hashable = None) -> Losses:
        return Losses(actor=self.actor.imitate(batch.obs, batch.action))
