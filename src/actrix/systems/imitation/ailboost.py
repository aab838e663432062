"""AILBoost: imitation by boosting; each round adds the policy that brings the mixture of all nearer to the expert.

Adversarial imitation gives for a reward what tells the expert from the learner. With a replay (DAC) "the learner" is
all that it ever did, a mixture that nobody plays. Here the mixture is meant: a policy is kept every round, with its own
steps; the replay, weighted, is the mixture's, and a step of functional gradient boosting (Frank-Wolfe) shrinks its
distance to the expert, KL(mixture || expert). One of the kept policies, drawn by weight, plays each episode in the end.

    mixture  rho_t = (1 - mixing) rho_{t-1} + mixing rho_{pi_t}
    discriminator  min_f  E_expert[exp(-f)] + E_rho_t[f] + penalty E[(|df| - 1)^2],  f = tanh(net), df between the two:
             without tanh and penalty, f = log(expert / rho_t)
    reward   f(s, a), worked out anew whenever a step is drawn, which it is evenly from what all kept policies did and
             what is done in this round
    policy   SAC on that reward, warm from round to round: y = f(s, a) + discount (1 - terminated) (min_i Q'_i(s', a')
             - temperature log pi(a'|s')), and so on (see `sac`)

The rounds are those of `run.boosted.BoostedFeed`; --data is the expert's, and its rewards and those of the environment
are not used. Where episodes terminate, rewards that are mostly negative make short ones attractive and positive ones
long: there are no absorbing states (DAC's remedy; the paper's tasks do not terminate).
Source: Chang et al. 2024, Adversarial Imitation Learning via Boosting (2404.08513), algorithm 1, and its code. There a
kept policy's steps are made in a second environment; here in the same one, from the beginning of an episode. The
clamp of the log standard deviation replaces a tanh. Its variant for images is left out.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from actrix.actors.boosted import Boosted
from actrix.actors.gaussian import SquashedGaussian
from actrix.actors.temperature import Temperature
from actrix.credit import bootstrap
from actrix.critics.discriminator import Discriminator
from actrix.critics.values import QEnsemble
from actrix.data.batches import Transitions
from actrix.nets.targets import tracked
from actrix.objectives import regression
from actrix.objectives.adversarial import FORMS, apart
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.boosted import BoostedFeed
from actrix.run.learner import Learner, Losses
from actrix.run.options import choice
from actrix.spec import Spec


@dataclass(frozen=True)
class Config:
    mixing: float = 0.05  # share of the mixture that each new policy takes
    round_steps: int = 1_000  # environment steps of a round in which the policy learns
    shown_steps: int = 1_000  # environment steps before them that show what the policy does
    discriminator_steps: int = 100  # updates of the discriminator in a round
    divergence: str = "reverse-kl"  # reverse-kl, jensen-shannon or wasserstein
    bounded: bool = True  # the reward is tanh of the discriminator's output
    penalty: float = 10.0  # weight of the discriminator's gradient penalty
    discriminator_hidden: tuple[int, ...] = (64, 64)  # units of each hidden layer of the discriminator
    discriminator_rate: float = 1e-4  # Adam learning rate of the discriminator
    hidden: tuple[int, ...] = (1024, 1024)  # units of each hidden layer, actor and critics
    rate: float = 1e-4  # Adam learning rate of actor, critics and temperature
    discount: float = 0.99  # per environment step
    target_rate: float = 0.005  # Polyak rate of the target critics, per update
    temperature: float = 1.0  # initial temperature, in units of reward per nat
    target_entropy: float | None = None  # nats; None is minus the number of action dimensions
    batch: int = 1024  # transitions per update; of the discriminator's, half are the expert's
    capacity: int = 1_000_000  # transitions in the replay
    warmup: int = 5_000  # environment steps of uniform actions before the first round
    updates_per_step: float = 0.5  # updates per environment step
    envs: int = 1  # environments stepped together


@system("ailboost", family="imitation", paper="2404.08513", acts=("box",))
class AILBoost(Learner):
    feed = BoostedFeed
    actor: Boosted[SquashedGaussian]
    temperature: Temperature

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        choice(config, "divergence", *FORMS)
        self.actor = Boosted(SquashedGaussian(spec, config.hidden, log_std_range=(-5.0, 2.0)), config.mixing)
        self.critic = QEnsemble(spec, config.hidden, members=2)
        self.target_critic = tracked(self.critic, config.target_rate)
        self.discriminator = Discriminator(spec, config.discriminator_hidden, config.bounded)
        target = -float(spec.action_size) if config.target_entropy is None else config.target_entropy
        self.temperature = Temperature(config.temperature, target)
        adam = Adam(config.rate)
        self.optimise(
            discriminator=(self.discriminator, Adam(config.discriminator_rate)), critic=(self.critic, adam),
            actor=(self.actor, adam), temperature=(self.temperature, adam),
        )  # fmt: skip

    def phase(self, updates: int) -> str:
        return "discriminator" if updates < self.config.discriminator_steps else "policy"

    def losses(self, batch: Transitions, phase: Hashable = "policy") -> Losses:
        return self.told(batch) if phase == "discriminator" else self.soft(batch)

    def told(self, batch: Transitions) -> Losses:
        """Of the discriminator, on a batch whose first half is the expert's."""
        half = len(batch.reward) // 2
        expert, other = (self.discriminator(batch.obs[at], batch.action[at]) for at in (slice(half), slice(half, None)))
        rows = self.discriminator.rows(batch.obs, batch.action)
        distance, penalty = (
            apart(expert, other, self.config.divergence),
            self.discriminator.penalty(rows[:half], rows[half : 2 * half]),
        )
        losses = Losses(discriminator=distance + self.config.penalty * penalty)
        return losses.note(expert=expert.mean(), mixture=other.mean(), penalty_value=penalty)

    def soft(self, batch: Transitions) -> Losses:
        """SAC's, on the discriminator's reward."""
        with torch.no_grad():
            batch = replace(batch, reward=self.discriminator(batch.obs, batch.action))
        action, logp = self.actor.base.sample(batch.obs)
        value, temperature = self.critic.frozen(batch.obs, action).reduce("min"), self.temperature().detach()
        losses = Losses(
            critic=regression(self.critic(batch.obs, batch.action).members, self.target(batch)),
            actor=(temperature * logp - value).mean(),
            temperature=self.temperature.loss(logp),
        )
        return losses.note(reward=batch.reward.mean(), entropy=-logp.mean(), temperature_value=temperature)

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        action, logp = self.actor.base.sample(batch.next_obs)
        value = self.target_critic(batch.next_obs, action).reduce("min") - self.temperature() * logp
        return bootstrap(batch.reward, batch.terminated, value, self.config.discount)

    def after_step(self, phase: Hashable = "policy") -> None:
        if phase != "discriminator":
            self.target_critic.follow()
