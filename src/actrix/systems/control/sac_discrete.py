"""Discrete SAC: soft actor-critic for a choice among C, with expectations instead of samples.

As SAC, but with few choices every expectation over actions is a finite sum: nothing is sampled while
learning, and the actor needs no reparameterisation.

    target       y = r + discount (1 - terminated) V(s')
                 V(s') = sum_a' pi(a'|s') (min_i Q'_i(s', a') - temperature log pi(a'|s'))
    critic       sum_i mean 0.5 (Q_i(s, a) - y)^2
    actor        mean sum_a pi(a|s) (temperature log pi(a|s) - min_i Q_i(s, a))
    temperature  mean log_temperature (H(pi(.|s)) - target_entropy log C(s))
    Q' follows Q by target_rate after every update

C(s) is the number of legal choices (all of them, unless the environment gives masks); sums run over legal
choices.
Source: Christodoulou 2019, Soft Actor-Critic for Discrete Action Settings (1910.07207), eq. 10 to 12; the
target entropy of 0.98 log C is that of the paper's code.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from actrix.actors.categorical import Categorical, expect, expect_sampled
from actrix.actors.temperature import Temperature
from actrix.credit import bootstrap
from actrix.critics.values import DiscreteQ
from actrix.data.batches import Transitions
from actrix.nets.targets import tracked
from actrix.objectives import regression
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.feeds import ReplayFeed
from actrix.run.learner import Learner, Losses
from actrix.spec import Choices, Spec


@dataclass(frozen=True)
class Config:
    hidden: tuple[int, ...] = (256, 256)  # units of each hidden layer, actor and critics
    rate: float = 3e-4  # Adam learning rate of all three groups
    discount: float = 0.99  # per environment step
    target_rate: float = 0.005  # Polyak rate of the target critics, per update
    temperature: float = 1.0  # initial temperature, in units of reward per nat
    learn_temperature: bool = True  # False keeps it fixed
    target_entropy: float = 0.98  # as a fraction of the entropy of a uniform choice
    exact: bool = True  # expectations over choices are sums; False estimates each from one drawn choice
    batch: int = 256  # transitions per update
    capacity: int = 1_000_000  # transitions in the replay
    warmup: int = 1_000  # environment steps of uniform actions before learning
    updates_per_step: float = 1.0  # updates per environment step
    envs: int = 1  # environments stepped together


@system("sac-discrete", family="control", paper="1910.07207", acts=("discrete",))
class DiscreteSAC(Learner):
    feed = ReplayFeed
    actor: Categorical
    temperature: Temperature

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        assert isinstance(spec.action, Choices)
        self.actor = Categorical(spec, config.hidden, "relu", orthogonal=False)
        self.critic = DiscreteQ(spec, config.hidden, members=2)
        self.target_critic = tracked(self.critic, config.target_rate)
        target = config.target_entropy * math.log(spec.action.sizes[0])
        self.temperature = Temperature(config.temperature, target)
        self.expect = expect if config.exact else expect_sampled
        adam = Adam(config.rate)
        learned = {"temperature": (self.temperature, adam)} if config.learn_temperature else {}
        self.optimise(critic=(self.critic, adam), actor=(self.actor, adam), **learned)

    def losses(self, batch: Transitions, phase: Hashable = None) -> Losses:
        q = self.critic(batch.obs)
        value = q.reduce("min")
        logp = self.actor.logps(batch.obs, batch.mask)[0]
        entropy = -expect(logp, logp)
        temperature = self.temperature().detach()
        losses = Losses(
            critic=regression(q.of(batch.action).members, self.target(batch)),
            actor=self.expect(logp, temperature * logp - value).mean(),
        )
        if self.config.learn_temperature:
            legal = None if batch.mask is None else batch.mask.sum(-1).clamp(min=1).log()
            target = None if legal is None else self.config.target_entropy * legal
            losses.groups["temperature"] = self.temperature.loss(-entropy, target)
        return losses.note(entropy=entropy.mean(), value=value.mean(), temperature_value=temperature)

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        logp = self.actor.logps(batch.next_obs, batch.next_mask)[0]
        soft = self.expect(logp, self.target_critic(batch.next_obs).reduce("min") - self.temperature() * logp)
        return bootstrap(batch.reward, batch.terminated, soft, self.config.discount)

    def after_step(self, phase: Hashable = None) -> None:
        self.target_critic.follow()
