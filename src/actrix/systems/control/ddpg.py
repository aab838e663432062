"""DDPG: Q-learning for continuous actions, with an actor that climbs the critic.

The maximum over actions that Q-learning needs is found by an actor: a deterministic policy moved along
dQ/da.

    target  y = r + discount (1 - terminated) Q'(s', mu'(s'))
    critic  mean 0.5 (Q(s, a) - y)^2
    actor   -mean Q(s, mu(s))
    mu' and Q' follow mu and Q by target_rate after every update
    explore a = clip(mu(s) + N(0, noise), -1, 1)

Differs from the paper in what later practice dropped: exploration noise is Gaussian, not an
Ornstein-Uhlenbeck process; the action enters the critic at its first layer; weight decay is off by default;
no batch norm.
Source: Lillicrap et al. 2016, Continuous Control with Deep Reinforcement Learning (1509.02971), algorithm 1.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from actrix.actors.deterministic import Deterministic
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
    hidden: tuple[int, ...] = (256, 256)  # units of each hidden layer, actor and critic (paper: 400 and 300)
    critic_rate: float = 1e-3  # Adam learning rate of the critic
    actor_rate: float = 3e-4  # Adam learning rate of the actor (1e-4 in the paper)
    weight_decay: float = 0.0  # decoupled decay of the critic's weights, per unit of rate (paper: 1e-2)
    discount: float = 0.99  # per environment step
    target_rate: float = 0.005  # Polyak rate of the target actor and critic, per update (0.001 in the paper)
    noise: float = 0.1  # standard deviation of exploration, in canonical actions (a range of 2)
    batch: int = 256  # transitions per update
    capacity: int = 1_000_000  # transitions in the replay
    warmup: int = 1_000  # environment steps of uniform actions before learning
    updates_per_step: float = 1.0  # updates per environment step
    envs: int = 1  # environments stepped together


@system("ddpg", family="control", paper="1509.02971", acts=("box",))
class DDPG(Learner):
    feed = ReplayFeed
    actor: Deterministic

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        self.actor = Deterministic(spec, config.hidden, noise=config.noise)
        self.critic = QEnsemble(spec, config.hidden, members=1)
        self.target_actor = tracked(self.actor, config.target_rate)
        self.target_critic = tracked(self.critic, config.target_rate)
        self.optimise(
            critic=(self.critic, Adam(config.critic_rate, weight_decay=config.weight_decay)),
            actor=(self.actor, Adam(config.actor_rate)),
        )

    def losses(self, batch: Transitions, phase: Hashable = None) -> Losses:
        taken = self.critic(batch.obs, batch.action).members
        return Losses(
            critic=regression(taken, self.target(batch)),
            actor=-self.critic.frozen(batch.obs, self.actor(batch.obs)).members.mean(),
        ).note(value=taken.mean())

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        value = self.target_critic(batch.next_obs, self.target_actor(batch.next_obs)).members[0]
        return bootstrap(batch.reward, batch.terminated, value, self.config.discount)

    def after_step(self, phase: Hashable = None) -> None:
        self.target_actor.follow()
        self.target_critic.follow()
