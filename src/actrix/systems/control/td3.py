"""TD3: a deterministic actor, and three remedies for critics that flatter it.

The critics' errors are overestimates, because the actor seeks them out. So: the smaller of two critics, a
target smoothed over neighbouring actions, and an actor that moves only after the critics have settled a
little.

    target  y = r + discount (1 - terminated) min_i Q'_i(s', a'),  a' = clip(mu'(s') + clip(e, -c, c), -1, 1)
            e ~ N(0, smoothing)
    critic  sum_i mean 0.5 (Q_i(s, a) - y)^2
    actor   -mean Q_1(s, mu(s)), at every `delay`-th update only
    mu' and Q' follow mu and Q by target_rate when the actor moves
    explore a = clip(mu(s) + N(0, noise), -1, 1)

All groups that move in an update take their gradients at the same parameters (the paper's code moves the
critics first). Source: Fujimoto et al. 2018, Addressing Function Approximation Error in Actor-Critic Methods
(1802.09477), algorithm 1.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from actrix.actors.deterministic import Deterministic, smoothed
from actrix.credit import bootstrap
from actrix.critics.values import QEnsemble
from actrix.data.batches import Transitions
from actrix.nets.targets import tracked
from actrix.objectives import regression
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.feeds import ReplayFeed
from actrix.run.learner import Learner, Losses
from actrix.spec import Spec


@dataclass(frozen=True)
class Config:
    hidden: tuple[int, ...] = (256, 256)  # units of each hidden layer, actor and critics
    rate: float = 3e-4  # Adam learning rate of both groups
    discount: float = 0.99  # per environment step
    target_rate: float = 0.005  # Polyak rate of the target actor and critics, per actor update
    delay: int = 2  # updates of the critics per update of the actor
    noise: float = 0.1  # standard deviation of exploration, in canonical actions (a range of 2)
    smoothing: float = 0.2  # standard deviation of the target action's noise, in canonical actions
    smoothing_clip: float = 0.5  # bound on the target action's noise, in canonical actions
    batch: int = 256  # transitions per update
    capacity: int = 1_000_000  # transitions in the replay
    warmup: int = 1_000  # environment steps of uniform actions before learning (25,000 in the paper's code)
    updates_per_step: float = 1.0  # updates per environment step
    envs: int = 1  # environments stepped together


@system("td3", family="control", paper="1802.09477", acts=("box",))
class TD3(Learner):
    feed = ReplayFeed
    actor: Deterministic

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        self.actor = Deterministic(spec, config.hidden, noise=config.noise)
        self.critic = QEnsemble(spec, config.hidden, members=2)
        self.target_actor = tracked(self.actor, config.target_rate)
        self.target_critic = tracked(self.critic, config.target_rate)
        adam = Adam(config.rate)
        self.optimise(critic=(self.critic, adam), actor=(self.actor, adam))

    def phase(self, updates: int) -> str:
        return "both" if (updates + 1) % self.config.delay == 0 else "critic"

    def losses(self, batch: Transitions, phase: Hashable = "both") -> Losses:
        taken = self.critic(batch.obs, batch.action).members
        losses = Losses(critic=regression(taken, self.target(batch)))
        if phase != "critic":
            losses.groups["actor"] = -self.critic.frozen(batch.obs, self.actor(batch.obs)).members[0].mean()
        return losses.note(value=taken.mean())

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        config = self.config
        action = smoothed(self.target_actor(batch.next_obs), config.smoothing, config.smoothing_clip)
        value = self.target_critic(batch.next_obs, action).reduce("min")
        return bootstrap(batch.reward, batch.terminated, value, config.discount)

    def after_step(self, phase: Hashable = "both") -> None:
        if phase != "critic":
            self.target_actor.follow()
            self.target_critic.follow()
