"""Cal-QL: conservative critics that are not made more pessimistic than what is known to have been earned.

CQL pushes the critics down on actions of the policy and up on those of the data, so that nothing untried looks good.
From values far below any real return, the first good experience online looks wonderful wherever it was made, and what
was learned offline is soon forgotten. Cal-QL pushes a value down only as far as the data's return from that state.

    critic  sum_i mean 0.5 (Q_i(s, a) - y)^2 + pessimism / 2 mean (log sum_k exp(q_k - log p_k) - Q_i(s, a))
            k: `samples` actions each of pi(.|s), of pi(.|s') and of the uniform distribution, p_k their densities;
            q_k = max(Q_i(s, a_k), return-to-go of s) for those of pi, and Q_i(s, a_k) for uniform ones
    target  y = r + discount (1 - terminated) min_i Q'_i(s', a'), the a' of `samples` draws for which that is greatest
    actor, temperature  as in SAC; Q' follows Q by target_rate after every update

`calibrated` off is CQL(H). The data's returns are those of its episodes (see `credit.returns_to_go`); where one is not
known (an episode online that has not ended) there is no bound. The paper's code sets the pessimism for its mazes by a
Lagrange multiplier; here it is fixed, as in its default. Source: Nakamoto et al. 2023, Cal-QL: Calibrated Offline RL
Pre-Training for Efficient Online Fine-Tuning (2303.05479); Kumar et al. 2020, CQL (2006.04779).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from actrix.actors.gaussian import SquashedGaussian
from actrix.actors.temperature import Temperature
from actrix.credit import bootstrap
from actrix.critics.conservative import soft_maximum
from actrix.critics.values import QEnsemble
from actrix.data.batches import Transitions
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
    calibrated: bool = True  # False is CQL
    pessimism: float = 5.0  # weight of the conservative term, in units of reward (5 for rewards of about 10)
    samples: int = 10  # actions drawn of each kind
    max_target: bool = True  # the best of `samples` next actions in the target, instead of one
    hidden: tuple[int, ...] = (256, 256)  # units of each hidden layer, actor and critics
    critic_rate: float = 3e-4  # Adam learning rate of the critics
    actor_rate: float = 1e-4  # Adam learning rate of actor and temperature
    discount: float = 0.99  # per environment step
    target_rate: float = 0.005  # Polyak rate of the target critics, per update
    temperature: float = 1.0  # initial temperature, in units of reward per nat
    target_entropy: float | None = None  # nats; None is minus the number of action dimensions


@system("cal-ql", family="offline", paper="2303.05479", acts=("box",))
class CalQL(Learner):
    feed = DatasetFeed
    wants_returns = True
    actor: SquashedGaussian

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        target = -float(spec.action_size) if config.target_entropy is None else config.target_entropy
        self.actor = SquashedGaussian(spec, config.hidden)
        self.critic = QEnsemble(spec, config.hidden, members=2)
        self.target_critic = tracked(self.critic, config.target_rate)
        self.temperature = Temperature(config.temperature, target)
        adam = Adam(config.actor_rate)
        critic = (self.critic, Adam(config.critic_rate))
        self.optimise(critic=critic, actor=(self.actor, adam), temperature=(self.temperature, adam))

    def losses(self, batch: Transitions, phase: Hashable = None) -> Losses:
        action, logp = self.actor.sample(batch.obs)
        best = self.critic.frozen(batch.obs, action).reduce("min")
        taken = self.critic(batch.obs, batch.action).members
        gap = (self.soft_maximum(batch) - taken).mean(-1)  # [E]
        return Losses(
            critic=regression(taken, self.target(batch)) + 0.5 * self.config.pessimism * gap.sum(),
            actor=(self.temperature().detach() * logp - best).mean(),
            temperature=self.temperature.loss(logp),
        ).note(gap=gap.mean(), value=taken.mean(), entropy=-logp.mean())

    def soft_maximum(self, batch: Transitions) -> Tensor:
        """log of the integral of exp Q(s, .) over actions, by importance sampling: [E, B]."""
        k = self.config.samples
        with torch.no_grad():
            here, logp_here = self.actor.sample(batch.obs.expand(k, -1, -1))
            there, logp_there = self.actor.sample(batch.next_obs.expand(k, -1, -1))
        anywhere = torch.rand_like(here) * 2 - 1
        value = self.critic(batch.obs, torch.cat((here, there, anywhere)).movedim(0, 1)).members  # [E, B, 3 K]
        floor = batch.returns if self.config.calibrated else None
        logp = torch.cat((logp_here, logp_there)).T
        return soft_maximum(value[..., : 2 * k], value[..., 2 * k :], floor, logp, self.spec.action_size)

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        draws = self.config.samples if self.config.max_target else 1
        action, _ = self.actor.sample(batch.next_obs.expand(draws, -1, -1))
        value = self.target_critic(batch.next_obs, action.movedim(0, 1)).reduce("min").amax(-1)
        return bootstrap(batch.reward, batch.terminated, value, self.config.discount)

    def after_step(self, phase: Hashable = None) -> None:
        self.target_critic.follow()
