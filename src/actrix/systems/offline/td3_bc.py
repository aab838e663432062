"""TD3+BC: TD3 whose actor is also held to what was done.

One term added to TD3, and nothing else, makes it learn from recorded data: the actor's distance from the data's
action. The critic's value is divided by its own mean size, so that the weight of the two does not depend on the
scale of the rewards. Observations are normalised by the data's mean and standard deviation.

    actor   -mean lambda Q_1(s, mu(s)) + mean (mu(s) - a)^2,  lambda = weight / mean |Q_1(s, mu(s))|
    critic  sum_i mean 0.5 (Q_i(s, a) - y)^2
    target  y = r + discount (1 - terminated) min_i Q'_i(s', a'),  a' = clip(mu'(s') + clip(e, -c, c), -1, 1)

The actor moves at every `delay`-th update. All groups that move in an update take their gradients at the same
parameters. Source: Fujimoto & Gu 2021, A Minimalist Approach to Offline Reinforcement Learning (2106.06860).
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
from actrix.nets.normaliser import observer_of
from actrix.nets.targets import tracked
from actrix.objectives import regression
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.learner import Learner, Losses
from actrix.run.offline import DatasetFeed
from actrix.run.settings import DataFirst
from actrix.spec import Spec


@dataclass(frozen=True)
class Config(DataFirst):
    weight: float = 2.5  # of the value against imitation; 0 is behaviour cloning
    hidden: tuple[int, ...] = (256, 256)  # units of each hidden layer, actor and critics
    rate: float = 3e-4  # Adam learning rate of both groups
    discount: float = 0.99  # per environment step
    target_rate: float = 0.005  # Polyak rate of the target actor and critics, per actor update
    delay: int = 2  # updates of the critics per update of the actor
    noise: float = 0.1  # standard deviation of exploration once online, in canonical actions (a range of 2)
    smoothing: float = 0.2  # standard deviation of the target action's noise, in canonical actions
    smoothing_clip: float = 0.5  # bound on the target action's noise, in canonical actions
    normalise_obs: bool = True  # by mean and standard deviation of the data (images are left alone)


@system("td3-bc", family="offline", paper="2106.06860", acts=("box",))
class TD3BC(Learner):
    feed = DatasetFeed
    actor: Deterministic

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        self.observer = observer_of(spec) if config.normalise_obs else None
        self.actor = Deterministic(spec, config.hidden, noise=config.noise)
        self.critic = QEnsemble(spec, config.hidden, members=2)
        self.target_actor = tracked(self.actor, config.target_rate)
        self.target_critic = tracked(self.critic, config.target_rate)
        adam = Adam(config.rate)
        self.optimise(critic=(self.critic, adam), actor=(self.actor, adam))

    def phase(self, updates: int) -> str:
        return "both" if (updates + 1) % self.config.delay == 0 else "critic"

    def losses(self, batch: Transitions, phase: Hashable = "both") -> Losses:
        obs = self.perceive(batch.obs)
        taken = self.critic(obs, batch.action).members
        losses = Losses(critic=regression(taken, self.target(batch)))
        if phase != "critic":
            value = self.critic.frozen(obs, self.actor(obs)).members[0]
            scale = self.config.weight / value.abs().mean().detach()
            imitation = self.actor.imitate(obs, batch.action) / self.spec.action_size
            losses.groups["actor"] = imitation - scale * value.mean()
            losses.note(imitation=imitation)
        return losses.note(value=taken.mean())

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        config, next_obs = self.config, self.perceive(batch.next_obs)
        action = smoothed(self.target_actor(next_obs), config.smoothing, config.smoothing_clip)
        value = self.target_critic(next_obs, action).reduce("min")
        return bootstrap(batch.reward, batch.terminated, value, config.discount)

    def after_step(self, phase: Hashable = "both") -> None:
        if phase != "critic":
            self.target_actor.follow()
            self.target_critic.follow()
