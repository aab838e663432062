"""SPO: self-play preference optimisation, PPO on how many of its own trajectories a trajectory beats.

A judge says which of two trajectories is preferred; no reward is known or modelled. What is sought is a policy that
none is preferred to on average (the minimax winner), which exists for any preferences, also such as go in a circle. For
the game is symmetric: one learner that plays against itself finds it.

    win rate   w(x) = mean over the latest `queue` trajectories x' other than x of P(x > x')
    reward     (w(x) - 1/2) / |x| in each of the |x| steps of x
    learner    PPO: clipped policy improvement with generalised advantage estimation, as in `ppo`

The judge here is simulated: he compares what the environment pays (`prefers`), which the learner never sees, and errs
in a share `noise` of his answers. A trajectory is an episode, or as much of it as fits into `horizon`: choose it no
shorter, or preferences are between beginnings. In games without a best policy it is the average of the policies that
comes near the winner; this keeps the last.

Source: Swamy et al. 2024, A Minimaximalist Approach to Reinforcement Learning from Human Feedback (2401.04056).
The authors pay w, and also use SAC; their code and settings were not seen. Of trajectories of one length the best is
the same with w as with w - 1/2.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch

from actrix.actors.categorical import Categorical
from actrix.actors.gaussian import Gaussian
from actrix.actors.stochastic import stochastic
from actrix.critics.values import StateValue
from actrix.data.batches import Steps
from actrix.nets.normaliser import observer_of
from actrix.objectives import proximal, reduce
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.contests import ContestFeed
from actrix.run.learner import Learner, Losses
from actrix.run.settings import Proximal
from actrix.spec import Spec


@dataclass(frozen=True)
class Config(Proximal):
    queue: int = 10  # latest trajectories that a trajectory is compared with
    prefers: str = "return"  # what the judge prefers: the higher return, or the higher peak (reward of a single step)
    noise: float = 0.0  # share of his answers that are turned round
    horizon: int = 1000  # steps of each environment between updates: the most that a trajectory can have
    envs: int = 8  # environments stepped together: trajectories of a round


@system(
    "spo",
    family="preference",
    paper="2401.04056",
    acts=("box", "unbounded box", "discrete", "multidiscrete", "multibinary"),
)
class SPO(Learner):
    feed = ContestFeed
    actor: Categorical | Gaussian

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        self.actor = stochastic(spec, config.hidden, config.log_std)
        self.critic = StateValue(spec, config.hidden)
        self.observer = observer_of(spec) if config.normalise_obs else None
        adam = Adam(config.rate, epsilon=1e-5, clip_norm=config.clip_norm)
        self.optimise(policy=((self.actor, self.critic), adam))

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        return self.critic.credit(steps, self.config.discount, self.config.decay)

    def losses(self, batch: Steps, phase: Hashable = None) -> Losses:
        config = self.config
        assert batch.target is not None
        said = self.actor.evaluate(batch.obs, batch.action, batch.mask)
        policy, notes = proximal(batch, *said, config.clip, config.entropy_weight, config.normalise_advantage)
        error = 0.5 * (self.critic(batch.obs) - batch.target).square()
        value_loss = reduce(error, batch.action_mask, "token", batch.total)
        return Losses(policy=policy + config.value_weight * value_loss).note(value_loss=value_loss, **notes)
