"""DQN: Q-learning with a deep network, a replay memory and a target network.

    target   y = r + discount (1 - terminated) max_a' Q'(s', a')
    double   y = r + discount (1 - terminated) Q'(s', argmax_a' Q(s', a'))
    critic   mean Huber(Q(s, a) - y)
    Q' moves towards Q by target_rate every `target_every` updates (1 and thousands: the paper's hard copy)
    explore  a uniform legal choice with probability epsilon, else argmax_a Q(s, a)

Epsilon falls on a straight line from epsilon_start to epsilon_end. The learner counts it in updates, in a
buffer, so that a resumed run explores as it would have. There is no actor network: the policy is greedy in
Q.
Source: Mnih et al. 2015, Human-level Control through Deep Reinforcement Learning (Nature 518, 529; earlier
1312.5602), algorithm 1; `double` is van Hasselt et al. 2016 (1509.06461). Adam stands for the paper's
RMSprop.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from actrix.actors.categorical import forbid
from actrix.actors.greedy import EpsilonGreedy
from actrix.credit import bootstrap
from actrix.critics.values import DiscreteQ
from actrix.data.batches import Transitions
from actrix.nets.targets import tracked
from actrix.objectives import huber
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.feeds import ReplayFeed
from actrix.run.learner import Learner, Losses
from actrix.spec import Spec


@dataclass(frozen=True)
class Config:
    hidden: tuple[int, ...] = (128, 128)  # units of each hidden layer
    rate: float = 5e-4  # Adam learning rate
    discount: float = 0.99  # per environment step
    double: bool = False  # the online network chooses the action that the target network values
    target_every: int = 500  # updates between moves of the target network (paper: 10,000)
    target_rate: float = 1.0  # how far it then moves; with target_every 1, a Polyak rate such as 0.005
    epsilon_start: float = 1.0  # first probability of a random choice
    epsilon_end: float = 0.05  # last probability of a random choice
    epsilon_steps: int = 10_000  # environment steps after the warmup in which epsilon falls (paper: 1e6)
    clip_norm: float | None = 10.0  # bound on the gradient's norm; None is no bound
    batch: int = 64  # transitions per update
    capacity: int = 100_000  # transitions in the replay
    warmup: int = 1_000  # environment steps of uniform actions before learning
    updates_per_step: float = 0.5  # updates per environment step
    envs: int = 1  # environments stepped together


@system("dqn", family="control", paper="10.1038/nature14236", acts=("discrete",))
class DQN(Learner):
    feed = ReplayFeed
    actor: EpsilonGreedy

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        critic = DiscreteQ(spec, config.hidden)
        falling = config.epsilon_steps * config.updates_per_step
        self.actor = EpsilonGreedy(critic, config.epsilon_start, config.epsilon_end, falling)
        self.target_critic = tracked(critic, config.target_rate)
        self.optimise(critic=(critic, Adam(config.rate, clip_norm=config.clip_norm)))

    def phase(self, updates: int) -> str:
        return "move target" if (updates + 1) % self.config.target_every == 0 else "learn"

    def losses(self, batch: Transitions, phase: Hashable = "learn") -> Losses:
        taken = self.actor.critic.of(batch.obs, batch.action).members[0]
        losses = Losses(critic=huber(taken, self.target(batch)))
        return losses.note(value=taken.mean(), epsilon=self.actor.epsilon())

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        after = self.target_critic(batch.next_obs)
        chooser = self.actor.critic(batch.next_obs) if self.config.double else after
        choice = forbid(chooser.members[0], batch.next_mask).argmax(-1, keepdim=True)
        return bootstrap(batch.reward, batch.terminated, after.of(choice).members[0], self.config.discount)

    def after_step(self, phase: Hashable = "learn") -> None:
        self.actor.advance()
        if phase == "move target":
            self.target_critic.follow()
