"""PMOE: soft actor-critic with a mixture of Gaussians, of which the critic says who learns.

Several ways may solve a task; one Gaussian can hold one of them, or what lies in between. Here every one of K
components proposes an action. Only the component whose action the critics like best climbs them, and the router learns
how often that is each one. The draw of a component needs no gradient.

    policy       k ~ w(s), a = tanh(mean_k(s) + std_k(s) noise);  log pi_k is the density under component k alone
    target       y = r + discount (1 - terminated) (min_i Q'_i(s', a'_k) - temperature log pi_k(a'_k|s')),  k ~ w(s')
    critic       sum_i mean 0.5 (Q_i(s, a) - y)^2
    components   b = argmax_k min_i Q_i(s, a_k), a_k ~ pi_k(.|s) for all k, reparameterised
                 mean temperature log pi_b(a_b|s) - min_i Q_i(s, a_b)
    router       frequency mean |w(s) - onehot(b)|^2 / K, so that w_k(s) goes to how often k is the best in s
    temperature  -mean log_temperature (log pi_b(a_b|s) + target_entropy)
    Q' follows Q by target_rate after every update

`frequency` 0 leaves the router as it began. Evaluation draws the component and plays its mean. As in the authors' code
the router is one linear map of the observation and the entropy is that of a component, not of the mixture; unlike
there, rewards are not standardised in each batch. This is the form on soft actor-critic; that on PPO is not here.
Source: Ren et al. 2021, Probabilistic Mixture-of-Experts for Efficient Deep Reinforcement Learning (2104.09122), and
the public code of one of the authors (quantumiracle/Popular-RL-Algorithms).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from actrix.actors.mixture import SquashedMixture, component
from actrix.actors.temperature import Temperature
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
    components: int = 4  # Gaussians of the mixture
    frequency: float = 1.0  # weight of the router's loss; 0 leaves the router as it began
    router: tuple[int, ...] = ()  # units of the router's hidden layers; none: a linear map
    hidden: tuple[int, ...] = (256, 256)  # units of each hidden layer, components (together) and critics
    rate: float = 3e-4  # Adam learning rate of all three groups
    discount: float = 0.99  # per environment step
    target_rate: float = 0.005  # Polyak rate of the target critics, per update
    temperature: float = 1.0  # initial temperature, in units of reward per nat
    learn_temperature: bool = True  # False keeps it fixed
    target_entropy: float | None = None  # of a component, nats; None is minus the number of action dimensions
    batch: int = 256  # transitions per update
    capacity: int = 1_000_000  # transitions in the replay
    warmup: int = 1_000  # environment steps of uniform actions before learning (10,000 for tasks of 1,000 steps)
    updates_per_step: float = 1.0  # updates per environment step
    envs: int = 1  # environments stepped together


@system("pmoe", family="control", paper="2104.09122", acts=("box",))
class PMOE(Learner):
    feed = ReplayFeed
    actor: SquashedMixture
    temperature: Temperature

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        target = -float(spec.action_size) if config.target_entropy is None else config.target_entropy
        self.actor = SquashedMixture(spec, config.hidden, config.components, config.router)
        self.critic = QEnsemble(spec, config.hidden, members=2)
        self.target_critic = tracked(self.critic, config.target_rate)
        self.temperature = Temperature(config.temperature, target)
        adam = Adam(config.rate)
        learned = {"temperature": (self.temperature, adam)} if config.learn_temperature else {}
        self.optimise(critic=(self.critic, adam), actor=(self.actor, adam), **learned)

    def losses(self, batch: Transitions, phase: Hashable = None) -> Losses:
        weights, action, logp = self.actor.each(batch.obs)
        value = self.critic.frozen(batch.obs, action).reduce("min")  # [B, K]
        best = value.detach().argmax(-1)
        value, logp = component(value, best), component(logp, best)
        share = weights.exp()
        wins = F.one_hot(best, share.shape[-1]).to(share.dtype)
        temperature = self.temperature().detach()
        losses = Losses(
            critic=regression(self.critic(batch.obs, batch.action).members, self.target(batch)),
            actor=(temperature * logp - value).mean() + self.config.frequency * (share - wins).square().mean(),
        )
        if self.config.learn_temperature:
            losses.groups["temperature"] = self.temperature.loss(logp)
        used = share.mean(0)  # how much each component is used over the whole batch, and the entropy of that, in nats
        return losses.note(
            entropy=-logp.mean(), value=value.mean(), temperature_value=temperature, usage=-(used * used.log()).sum()
        )

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        action, logp = self.actor.sample(batch.next_obs)
        soft = self.target_critic(batch.next_obs, action).reduce("min") - self.temperature() * logp
        return bootstrap(batch.reward, batch.terminated, soft, self.config.discount)

    def after_step(self, phase: Hashable = None) -> None:
        self.target_critic.follow()
