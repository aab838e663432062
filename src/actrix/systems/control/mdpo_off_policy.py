"""MDPO, off-policy: an actor that climbs Q at a price on the distance from what it was some time ago.

Mirror descent in the space of policies, with states from a replay. The old policy pi_k stays where it is for
`anchor_every` updates, in which the new one approaches the maximum of the value less the distance to it; then it takes
the new one's place.

    actor   mean price (log pi(a|s) - log pi_k(a|s)) + temperature log pi_k(a|s) - Q_1(s, a)
            + 1e-3 mean (mean^2 + log_std^2),  a = tanh(u) ~ pi(.|s) reparameterised, both densities at the same u
    critic  sum_i mean 0.5 (Q_i(s, a) - y)^2,  y = r + discount (1 - terminated) V'(s')
    value   mean 0.5 (V(s) - (min_i Q_i(s, a) - temperature log pi(a|s)))^2,  a ~ pi(.|s)
    V' follows V by target_rate after every update

`price` is 1 / t, kept as it is. With temperature = price the anchor drops out and what is left is SAC, of fixed
temperature and with a learned value. As in the authors' code the actor climbs the first critic. Experience is gathered
by samples of the policy (the authors' script takes its mode). The paper's Tsallis form is not here.
Source: Tomar et al. 2020, Mirror Descent Policy Optimization (2005.09814), section 5 and algorithm 2, and the authors'
code (manantomar/Mirror-Descent-Policy-Optimization).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from actrix.actors.gaussian import SquashedGaussian
from actrix.credit import bootstrap
from actrix.critics.values import QEnsemble, StateValue
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
    price: float = 0.3  # of the distance from the old policy (1 / t), in units of reward per nat
    temperature: float = 0.0  # weight of the entropy in the value, in units of reward per nat
    anchor_every: int = 1_000  # updates after which the new policy takes the old one's place
    regularise: float = 1e-3  # weight of the squares of mean and log standard deviation, before squashing
    hidden: tuple[int, ...] = (256, 256)  # units of each hidden layer, actor and critics
    rate: float = 3e-4  # Adam learning rate of all three groups
    discount: float = 0.99  # per environment step
    target_rate: float = 0.005  # Polyak rate of the target value, per update
    batch: int = 256  # transitions per update
    capacity: int = 1_000_000  # transitions in the replay
    warmup: int = 1_000  # environment steps of uniform actions before learning (10,000 for tasks of 1,000 steps)
    updates_per_step: float = 1.0  # updates per environment step
    envs: int = 1  # environments stepped together


@system("mdpo-off-policy", family="control", paper="2005.09814", acts=("box",))
class OffPolicyMDPO(Learner):
    feed = ReplayFeed
    actor: SquashedGaussian

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        self.actor = SquashedGaussian(spec, config.hidden)
        self.before = tracked(self.actor, 1.0)  # pi_k
        self.critic = QEnsemble(spec, config.hidden, members=2)
        self.value = StateValue(spec, config.hidden, activation="relu", orthogonal=False)
        self.target_value = tracked(self.value, config.target_rate)
        adam = Adam(config.rate)
        self.optimise(critic=(self.critic, adam), value=(self.value, adam), actor=(self.actor, adam))

    def phase(self, updates: int) -> str:
        return "renew" if (updates + 1) % self.config.anchor_every == 0 else "approach"

    def losses(self, batch: Transitions, phase: Hashable = None) -> Losses:
        config = self.config
        u, logp = self.actor.draw(batch.obs)
        action, anchor = torch.tanh(u), self.before.copy.log_prob_before(batch.obs, u)
        worth = self.critic.frozen(batch.obs, action)
        mean, log_std = self.actor.distribution(batch.obs)
        small = config.regularise * (mean.square().mean() + log_std.square().mean())
        soft = (worth.reduce("min") - config.temperature * logp).detach()
        priced = config.price * logp + (config.temperature - config.price) * anchor
        return Losses(
            critic=regression(self.critic(batch.obs, batch.action).members, self.target(batch)),
            value=regression(self.value(batch.obs)[None], soft),
            actor=(priced - worth.members[0]).mean() + small,
        ).note(entropy=-logp.mean(), distance=(logp - anchor).mean(), worth=worth.members[0].mean())

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        return bootstrap(batch.reward, batch.terminated, self.target_value(batch.next_obs), self.config.discount)

    def after_step(self, phase: Hashable = None) -> None:
        self.target_value.follow()
        if phase == "renew":
            self.before.follow()
