"""FlashSAC: soft actor-critic with few updates, large batches and wide networks, for many environments at once.

What makes few updates enough makes bootstrapping unstable: so the norms of weights (unit rows, restored after every
step), of features (batch norm, a last row norm) and of gradients (categorical critics on scaled rewards) are bounded.

    critic       Z_i(s, a) on 101 atoms in [-bound, bound];  loss: mean cross-entropy -sum_k y_k log Z_ik(s, a)
    target       y = C51 projection of r + discount (1 - terminated) (Z'_j(s', a') - temperature log pi(a'|s')),
                 a' ~ pi(.|s'),  j = argmin_i mean of Z'_i(s', a'), row by row
    both         (s, a) and (s', a') pass through Z, and through Z', as one batch: they share batch statistics
    actor        mean temperature log pi(a|s) - min_i mean of Z_i(s, a), at every `delay`-th update; s and s' pass
                 through pi as one batch, through Z by its running statistics
    temperature  temperature (entropy - target_entropy),  target_entropy = dim(A)/2 log(2 pi e sigma^2)
    reward       r = raw / max(std G, max |G| / bound), G the discounted return of each environment so far; divided
                 when it is used, by what is known then
    explore      a = tanh(mean + std e): each environment keeps e for n steps, P(n) ~ n^-2, n = 1..hold
    Z' follows Z by target_rate after every update

All groups that move in an update take their gradients at the same parameters (the authors' code moves the actor
first). Theirs repeats noise by one counter for all environments, and n-step returns and a term that imitates data
are left out here. Source: FlashSAC (2604.04539) and the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from actrix.actors.gaussian import UnitGaussian
from actrix.actors.temperature import Temperature
from actrix.critics.distributions import CategoricalQ, CategoricalValue
from actrix.data.batches import Transitions
from actrix.nets.normaliser import RewardScaler
from actrix.nets.targets import tracked
from actrix.nets.unit import UnitNet, project
from actrix.objectives.distributional import cross_entropy
from actrix.optim import Adam, cosine
from actrix.registry import system
from actrix.run.feeds import ReplayFeed
from actrix.run.learner import Learner, Losses
from actrix.spec import Spec


@dataclass(frozen=True)
class Config:
    actor_width: int = 128  # features of the actor's residual stream (four times that inside a block)
    critic_width: int = 256  # features of each critic's residual stream
    blocks: int = 2  # residual blocks of each network
    atoms: int = 101  # of the return's distribution
    bound: float = 5.0  # largest scaled return
    rate: float = 3e-4  # Adam learning rate of all three groups
    final_rate: float = 1.5e-4  # to which it falls along a cosine
    anneal: int = 0  # updates in which it falls (the whole run, in the paper); 0 keeps it
    discount: float = 0.99  # per environment step
    target_rate: float = 0.01  # Polyak rate of the target critics, per update
    delay: int = 2  # updates of the critics per update of the actor
    cross_batch: bool = True  # False gives (s, a) and (s', a') batch statistics of their own
    scale_reward: bool = True  # False leaves rewards as they are
    hold: int = 16  # longest time for which exploration keeps its noise, in steps; 1 draws anew at each
    temperature: float = 0.01  # initial temperature, in units of scaled reward per nat
    sigma: float = 0.15  # target entropy: that of a Gaussian of this standard deviation in each action dimension
    batch: int = 512  # transitions per update (2,048 on a GPU)
    capacity: int = 1_000_000  # transitions in the replay (10 million with 1,024 environments)
    warmup: int = 10_000  # environment steps of uniform actions before learning
    updates_per_step: float = 1.0  # updates per environment step (1/512 with 1,024 environments)
    envs: int = 1  # environments stepped together


@system("flashsac", family="control", paper="2604.04539", acts=("box",))
class FlashSAC(Learner):
    feed = ReplayFeed
    actor: UnitGaussian
    scaler: RewardScaler

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        entropy = 0.5 * spec.action_size * math.log(2 * math.pi * math.e * config.sigma**2)
        self.actor = UnitGaussian(spec, config.actor_width, config.blocks, hold=config.hold)
        self.critic = CategoricalQ(
            spec, lambda i, o: UnitNet(i, config.critic_width, config.blocks, o, 2), config.bound, config.atoms
        )
        self.target_critic = tracked(self.critic, config.target_rate)
        self.temperature = Temperature(config.temperature, entropy)
        self.scaler = RewardScaler(config.discount, bound=config.bound)
        adam = Adam(config.rate)
        self.optimise(critic=(self.critic, adam), actor=(self.actor, adam), temperature=(self.temperature, adam))

    def phase(self, updates: int) -> str:
        return "both" if updates % self.config.delay == 0 else "critic"

    def observe(self, seen: Transitions, valid: Tensor) -> None:
        if self.config.scale_reward:
            self.scaler.update(seen.reward[:, None], (seen.terminated | seen.truncated)[:, None], valid[:, None])

    def losses(self, batch: Transitions, phase: Hashable = "both") -> Losses:
        with torch.no_grad():
            following = self.actor.sample(batch.next_obs)
        target, value = self.target(batch, following), self.judged(self.critic, batch, following[0], 0)
        losses = Losses(critic=cross_entropy(value.logp, target.logp.exp()))
        losses.note(value=value.mean.mean(), std=value.std.mean(), reward=self.scaled(batch.reward).mean())
        if phase == "critic":
            return losses
        action, logp = self.actor.sample(torch.cat((batch.obs, batch.next_obs)), training=True)
        action, logp = action[: len(batch)], logp[: len(batch)]
        best, temperature = self.critic.frozen(batch.obs, action).reduce("min"), self.temperature()
        losses.groups["actor"] = (temperature.detach() * logp - best).mean()
        losses.groups["temperature"] = -temperature * (logp.detach().mean() + self.temperature.target_entropy)
        return losses.note(entropy=-logp.mean(), temperature_value=temperature)

    @torch.no_grad()
    def target(self, batch: Transitions, following: tuple[Tensor, Tensor] | None = None) -> CategoricalValue:
        """The distribution of the target, [1, B]; `following` are a' and log pi(a'|s')."""
        action, logp = self.actor.sample(batch.next_obs) if following is None else following
        value = self.judged(self.target_critic.copy, batch, action, 1).least()
        reward, cost = self.scaled(batch.reward), self.temperature() * logp
        return value.backup(reward, batch.terminated, self.config.discount, cost)

    def judged(self, critic: CategoricalQ, batch: Transitions, action: Tensor, half: int) -> CategoricalValue:
        """What a critic says of (s, a) (`half` 0) or of (s', a') (1), by the statistics of both together."""
        pairs = ((batch.obs, batch.action), (batch.next_obs, action))
        if not self.config.cross_batch:
            return critic(*pairs[half], training=True)
        value = critic(*map(torch.cat, zip(*pairs)), training=True)
        return value.rows(slice(half * len(batch), (half + 1) * len(batch)))

    def scaled(self, reward: Tensor) -> Tensor:
        return self.scaler(reward) if self.config.scale_reward else reward

    @torch.no_grad()
    def after_step(self, phase: Hashable = "both") -> None:
        project(self.critic)
        if phase != "critic":
            project(self.actor)
        self.target_critic.follow()
        if self.config.anneal:
            passed = self.optimiser.critic_step / self.config.anneal
            for name in self.optimiser.groups:
                self.optimiser.set_rate(name, cosine(self.config.rate, self.config.final_rate, passed))
