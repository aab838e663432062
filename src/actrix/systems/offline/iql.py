"""IQL: implicit Q-learning, which never asks what an action is worth that nobody has tried.

The value of a state is an upper expectile of the values of the actions that the data took there: nearly the best of
them, without maximising over actions out of the data. So values pass from one recorded trajectory to another that it
meets. The actor then imitates the data, weighted by how much better than the state's value an action was.

    value   V: mean |expectile - 1(u < 0)| u^2,  u = min_i Q'_i(s, a) - V(s)
    critic  sum_i mean 0.5 (Q_i(s, a) - y)^2,  y = r + discount (1 - terminated) V(s')
    actor   -mean w log pi(a|s),  w = min(exp(advantage_scale (min_i Q'_i(s, a) - V(s))), 100)
    Q' follows Q by target_rate after every update

The actor is a Gaussian with a mean in (-1, 1) and one learned standard deviation per action. All groups take their
gradients at the same parameters (the paper's code moves V first). The paper's code scales the rewards of locomotion
tasks by 1,000 / (best - worst return), and lets the actor's rate fall to zero along a cosine; neither is done here.
Source: Kostrikov et al. 2021, Offline Reinforcement Learning with Implicit Q-Learning (2110.06169).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from actrix.actors.gaussian import Gaussian
from actrix.credit import bootstrap
from actrix.critics.values import QEnsemble, StateValue
from actrix.data.batches import Transitions
from actrix.nets.targets import tracked
from actrix.objectives import expectile, regression
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.learner import Learner, Losses
from actrix.run.offline import DatasetFeed
from actrix.run.settings import DataFirst
from actrix.spec import Spec


@dataclass(frozen=True)
class Config(DataFirst):
    expectile: float = 0.7  # 0.5 is the mean, 1 the maximum over the data's actions (0.9 for mazes in the paper)
    advantage_scale: float = 3.0  # inverse temperature of imitation, per unit of reward (10 for mazes in the paper)
    weight_most: float = 100.0  # bound on the weight of a transition
    hidden: tuple[int, ...] = (256, 256)  # units of each hidden layer, actor, critics and value
    rate: float = 3e-4  # Adam learning rate of all three groups
    discount: float = 0.99  # per environment step
    target_rate: float = 0.005  # Polyak rate of the target critics, per update


@system("iql", family="offline", paper="2110.06169", acts=("box",))
class IQL(Learner):
    feed = DatasetFeed
    actor: Gaussian

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        self.actor = Gaussian(spec, config.hidden, activation="relu", bounded=True)
        self.critic = QEnsemble(spec, config.hidden, members=2)
        self.value = StateValue(spec, config.hidden, activation="relu", orthogonal=False)
        self.target_critic = tracked(self.critic, config.target_rate)
        adam = Adam(config.rate)
        self.optimise(value=(self.value, adam), critic=(self.critic, adam), actor=(self.actor, adam))

    def losses(self, batch: Transitions, phase: Hashable = None) -> Losses:
        with torch.no_grad():
            taken = self.target_critic(batch.obs, batch.action).reduce("min")
        value = self.value(batch.obs)
        advantage = taken - value.detach()
        weight = (self.config.advantage_scale * advantage).exp().clamp(max=self.config.weight_most)
        return Losses(
            value=expectile(value, taken, self.config.expectile),
            critic=regression(self.critic(batch.obs, batch.action).members, self.target(batch)),
            actor=self.actor.imitate(batch.obs, batch.action, weight),
        ).note(advantage=advantage.mean(), weight=weight.mean(), state_value=value.mean())

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        return bootstrap(batch.reward, batch.terminated, self.value(batch.next_obs), self.config.discount)

    def after_step(self, phase: Hashable = None) -> None:
        self.target_critic.follow()
