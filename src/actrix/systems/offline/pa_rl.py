"""PA-RL: policy-agnostic RL, one improvement rule for every class of policy that can be sampled and imitated.

No gradient of the critic enters the policy. At a state, K proposals of the policy are ranked by the critic, the best k
are moved up the critic's gradient with respect to the action, and the policy learns by its own supervised loss to
propose what came out. Where actions are decided, they are decided so too: pi* is the policy with its optimiser.

    particles   K proposals of pi(.|s); the k for which mean_i Q_i is greatest (with the data's action in the place of
                the last); `ascent` times a <- clip(a + step grad_a mean_i Q_i(s, a)); of each the best place it was at
    pi*(.|s)    one of the particles: drawn from softmax(Q / temperature); the best one in targets and in evaluation
    actor       the loss of imitation towards a* ~ pi*(.|s); towards the data's action in the first `imitation` updates
    target      y = r + discount (1 - terminated) min_{2 of E} Q'_i(s', a'),  a' = the best of pi*(.|s')
    critic      cal-ql  sum_i mean 0.5 (Q_i(s, a) - y)^2 + pessimism mean (log mean_k exp q_k - Q_i(s, a)); k: `samples`
                        each of pi*(.|s), of pi*(.|s') and of uniform actions, and a; q_k of the first two is at least
                        the data's return from s (see `systems/offline/cal_ql.py`)
                iql     the same without pessimism, y = r + discount (1 - terminated) V(s'), and V as in IQL
    Q' follows Q by target_rate after every update

Policies: gaussian, autoregressive (tokens: 21 bins of each number), diffusion, flow. What ranks, what is climbed and
what is drawn from is one value, the mean of the critics. Proposals are drawn anew whenever they are needed (the
authors keep them per state between refreshments), critic and actor step together, and critics are regressions (the
authors': 128 bins on [-100, 0], HL-Gauss; there is no such critic of plain layers here). `mode="mean"` has the same
noise of proposals at every call; a file cannot hold the ascent, so there is no export.

Source: Mark et al. 2024, Policy Agnostic RL: Offline RL and Online RL Fine-Tuning of Any Class and Backbone
(2412.06685), algorithm 1, and the authors' code (MaxSobolMark/PolicyAgnosticRL) for defaults.
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from actrix.actors.kinds import PROPOSING, actor_of
from actrix.actors.optimised import Optimised
from actrix.credit import bootstrap
from actrix.critics.conservative import soft_maximum
from actrix.critics.values import QEnsemble, StateValue
from actrix.data.batches import Transitions
from actrix.errors import ActrixError
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
    actor: str = "diffusion"  # gaussian, autoregressive, diffusion or flow
    denoising_steps: int = 5  # of a diffusion or flow, from noise to an action
    critic: str = "cal-ql"  # or iql
    proposals: int = 32  # drawn of the policy for each state (K)
    keep: int = 10  # of them, ranked by the critics, which are moved on (k)
    ascent: int = 10  # gradient steps of each (T); 0 is best-of-K
    step: float = 3e-4  # size of a gradient step, in canonical actions (a range of 2) per unit of value per action
    temperature: float = 1.0  # of the choice among particles, in units of value
    distill: bool = True  # False: the policy goes on imitating the data
    distill_best: bool = False  # imitate the best particle instead of one drawn from pi*
    imitation: int = 0  # first updates, in which the policy imitates the data (the authors train it so beforehand)
    pessimism: float = 0.005  # weight of the conservative term (cal-ql)
    samples: int = 10  # actions of each kind in the conservative term (cal-ql)
    expectile: float = 0.7  # 0.5 is the mean, 1 the maximum over the data's actions (iql)
    members: int = 10  # critics
    subset: int = 2  # of them, drawn anew for each target, whose minimum it takes
    hidden: tuple[int, ...] = (256, 256)  # units of each hidden layer, actor, critics and value
    critic_rate: float = 3e-4  # Adam learning rate of critics and value
    actor_rate: float = 5e-5  # Adam learning rate of the policy
    discount: float = 0.99  # per environment step
    target_rate: float = 0.005  # Polyak rate of the target critics, per update


@system("pa-rl", family="offline", paper="2412.06685", acts=("box",))
class PARL(Learner):
    feed = DatasetFeed
    ranks = True
    wants_returns = True
    actor: Optimised

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        c = config
        if c.critic not in ("cal-ql", "iql"):
            raise ActrixError(f"--critic is cal-ql or iql, not {c.critic!r}", misuse=True)
        self.critic = QEnsemble(spec, c.hidden, c.members, layer_norm=True)
        self.target_critic = tracked(self.critic, c.target_rate)
        base = actor_of(c.actor, spec, c.hidden, c.denoising_steps, c.proposals, PROPOSING)
        self.actor = Optimised(base, self.critic, c.proposals, c.keep, c.ascent, c.step, c.temperature)
        groups = {"critic": (self.critic, Adam(c.critic_rate)), "actor": (base, Adam(c.actor_rate))}
        if c.critic == "iql":
            self.value = StateValue(spec, c.hidden, activation="relu", orthogonal=False)
            groups["value"] = (self.value, Adam(c.critic_rate))
        self.optimise(**groups)

    def phase(self, updates: int) -> str:
        return "imitate" if updates < self.config.imitation or not self.config.distill else "improve"

    def losses(self, batch: Transitions, phase: Hashable = "improve") -> Losses:
        here, value = self.actor.improve(batch.obs, given=batch.action)
        taken = self.critic(batch.obs, batch.action).members  # [E, B]
        if self.config.critic == "iql":
            best = self.target_critic(batch.obs, batch.action).some(self.config.subset).reduce("min")
            losses = Losses(
                critic=regression(taken, self.target(batch)),
                value=expectile(self.value(batch.obs), best, self.config.expectile),
            )
        else:
            there = self.actor.improve(batch.next_obs)
            gap = (self.soft_maximum(batch, taken, (here, value), there) - taken).mean(-1)  # [E]
            critic = regression(taken, self.target(batch, there)) + self.config.pessimism * gap.sum()
            losses = Losses(critic=critic).note(gap=gap.mean())
        chosen = self.actor.choose(here, value, "mean" if self.config.distill_best else "sample")
        losses.groups["actor"] = self.actor.imitate(batch.obs, batch.action if phase == "imitate" else chosen)
        return losses.note(value_taken=taken.mean(), value_improved=value.mean())

    def soft_maximum(
        self, batch: Transitions, taken: Tensor, here: tuple[Tensor, Tensor], there: tuple[Tensor, Tensor]
    ) -> Tensor:
        """log mean exp of the critics over actions of pi*, uniform ones and the data's: [E, B]."""
        k = self.config.samples
        drawn = [self.actor.draw(*particles, k) for particles in (here, there)]
        action = torch.cat((*drawn, torch.rand_like(drawn[0]) * 2 - 1), 1)  # [B, 3 K, A]
        value = self.critic(batch.obs, action).members
        other = torch.cat((value[..., 2 * k :], taken[..., None]), -1)
        return soft_maximum(value[..., : 2 * k], other, batch.returns) - math.log(3 * k + 1)

    @torch.no_grad()
    def target(self, batch: Transitions, there: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Targets [B]; `there`: particles and values of s', if they are known."""
        if self.config.critic == "iql":
            value = self.value(batch.next_obs)
        else:
            action = self.actor.choose(*(there or self.actor.improve(batch.next_obs)), "mean")
            value = self.target_critic(batch.next_obs, action).some(self.config.subset).reduce("min")
        return bootstrap(batch.reward, batch.terminated, value, self.config.discount)

    def after_step(self, phase: Hashable = None) -> None:
        self.target_critic.follow()
