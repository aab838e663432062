"""TSCAC: a policy for one signal that stays near the policies that are best for each of the others.

A feed wants watch time (signal 1, the reward), and that likes, follows and shares (signals 2..m, `Spec.signals`) are
not lost over it. Sparse signals drown in a critic of their sum, and multipliers on noisy critics are hard to tune. So
each signal has a critic and a discount of its own; each auxiliary signal has a policy of its own, the expert; and the
policy for the reward is held near all of the experts, which has a closed form.

    critics    mean 0.5 (V_i(s) - y_i)^2,  y_i = r_i + discount_i (1 - terminated) V'_i(s')
               V' follows V by target_rate after every update
               A_i = (y_i - V_i(s)) / its standard deviation in the batch
    stage one  behaviour b: -mean log b(a|s), the clone of who chose what is recorded
               experts:     -mean min(exp(A_i / temperature), most) log pi_i(a|s),  i = 2..m
    stage two  max E[A_1] subject to KL(pi || pi_i) <= e_i for each i has the solution, with multipliers w_i of sum W,
               pi*(a|s) ~ prod_i pi_i(a|s)^(w_i / W) exp(A_1 / W): a product of experts.
               -mean min(prod_i (pi_i(a|s) / b(a|s))^(w_i / W) exp(A_1 / W), most) log pi(a|s),  a as recorded

Experts and clone are frozen in stage two. Without auxiliary signals b is the only expert, of weight `weights[0]`: that
is advantage-weighted regression.

Differences from the paper: the experts' loss there is -A_i log pi_i, which has no minimum on recorded actions, where
here it is the same regression as in stage two (one common form, bounded below); advantages have no unit, so that one
temperature and one W serve all signals; weights are bounded. `experts` "merged" is the authors' released code: one
expert for the sum of all advantages. Their deterministic variant of it (DDPG with a penalty for the distance) is not
here. Chosen from samples of the policy, in evaluation too: what is near the experts is the distribution.
Source: Cai et al. 2023, Two-Stage Constrained Actor-Critic for Short Video Recommendation (2302.01680), and the
authors' code.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from actrix.actors.base import Action
from actrix.actors.categorical import Categorical
from actrix.actors.gaussian import Gaussian
from actrix.actors.stochastic import stochastic
from actrix.critics.values import StateValue
from actrix.data.batches import Transitions
from actrix.errors import ActrixError
from actrix.nets.targets import tracked
from actrix.objectives import regression
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.learner import Learner, Losses
from actrix.run.offline import DatasetFeed
from actrix.run.options import choice
from actrix.spec import Spec


@dataclass(frozen=True)
class Config:
    experts: str = "each"  # an expert for each auxiliary signal, merged (one for the sum of all signals), or none
    weights: tuple[float, ...] = (1.0,)  # multiplier of each expert; one number is for all
    temperature: float = 1.0  # of the experts, in standard deviations of an advantage
    weight_most: float = 20.0  # bound on the weight of a transition
    stage_one: int = 2_000  # updates until the experts are frozen and the policy begins to learn (--steps is more)
    hidden: tuple[int, ...] = (32, 32)  # units of each hidden layer of every network
    rate: float = 3e-4  # Adam learning rate of policies
    critic_rate: float = 1e-3  # Adam learning rate of the critics
    discount: float = 0.95  # of the reward, per step
    discounts: tuple[float, ...] = (0.9,)  # of each auxiliary signal; one number is for all
    target_rate: float = 0.005  # Polyak rate of the target critics, per update
    batch: int = 256  # transitions per update


def spread(given: tuple[float, ...], count: int, flag: str) -> tuple[float, ...]:
    """One number for each of `count`."""
    if len(given) not in (1, count):
        raise ActrixError(f"--{flag} has {len(given)} numbers, but there are {count} auxiliary signals", misuse=True)
    return given * count if len(given) == 1 else given


@system("tscac", family="recommender", paper="2302.01680", acts=("box", "discrete"))
class TSCAC(Learner):
    feed = DatasetFeed
    actor: Categorical | Gaussian
    discounts: Tensor
    shares: Tensor

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        choice(config, "experts", "each", "merged", "none")
        part = spec.signals
        self.columns = slice(0, 0) if part is None else slice(part.start, part.stop)
        auxiliary = self.columns.stop - self.columns.start
        count = {"each": auxiliary, "merged": min(auxiliary, 1), "none": 0}[config.experts]
        multipliers = torch.tensor(spread(config.weights, max(count, 1), "weights"))
        discounts = (config.discount, *spread(config.discounts, auxiliary, "discounts")) if auxiliary else ()
        if (multipliers <= 0).any():
            raise ActrixError("--weights are above 0", "--experts none is the policy without constraints", misuse=True)
        self.register_buffer("discounts", torch.tensor(discounts or (config.discount,))[:, None], persistent=False)
        self.register_buffer("shares", multipliers[:, None] / multipliers.sum(), persistent=False)
        self.hold = float(multipliers.sum())
        self.critic = StateValue(
            spec, config.hidden, activation="relu", orthogonal=False, members=1 + auxiliary
        )  # fmt: skip
        self.target_critic = tracked(self.critic, config.target_rate)
        self.actor, self.behaviour = (stochastic(spec, config.hidden, bounded=True) for _ in range(2))
        self.experts = nn.ModuleList(stochastic(spec, config.hidden, bounded=True) for _ in range(count))
        adam = Adam(config.rate)
        groups: dict[str, Any] = {"experts": (self.experts, adam)} if count else {}
        self.optimise(
            critic=(self.critic, Adam(config.critic_rate)), behaviour=(self.behaviour, adam),
            actor=(self.actor, adam), **groups,
        )  # fmt: skip

    def phase(self, updates: int) -> Hashable:
        return "experts" if updates < self.config.stage_one else "policy"

    def losses(self, batch: Transitions, phase: Hashable = None) -> Losses:
        value, target = self.critic(batch.obs), self.targets(batch)
        advantage = (target - value).detach()
        advantage = advantage / (advantage.std(-1, keepdim=True) + 1e-6)
        losses = Losses(critic=regression(value, target))
        if phase == "experts":
            losses.groups["behaviour"] = self.behaviour.imitate(batch.obs, batch.action)
            if len(self.experts):
                merged = self.config.experts == "merged"
                sought = advantage.mean(0, keepdim=True) if merged else advantage[1:]
                weights = self.bounded(sought / self.config.temperature)
                found = [e.imitate(batch.obs, batch.action, w) for e, w in zip(self.experts, weights)]  # type: ignore[operator]
                losses.groups["experts"] = torch.stack(found).sum()
            return losses.note(value=value.mean())
        weight = self.bounded(self.nearness(batch) + advantage[0] / self.hold)
        losses.groups["actor"] = self.actor.imitate(batch.obs, batch.action, weight)
        return losses.note(value=value[0].mean(), weight=weight.mean(), largest_weight=weight.max())

    @torch.no_grad()
    def nearness(self, batch: Transitions) -> Tensor:
        """log prod_i (pi_i / b)^(w_i / W) of the recorded actions [B]; 0 without experts."""
        if not len(self.experts):
            return torch.zeros_like(batch.reward)
        said = torch.stack([e.log_prob(batch.obs, batch.action) for e in self.experts])  # type: ignore[operator]
        return (self.shares * (said - self.behaviour.log_prob(batch.obs, batch.action))).sum(0)

    def bounded(self, logarithm: Tensor) -> Tensor:
        """Weights from their logarithms."""
        return logarithm.exp().clamp(max=self.config.weight_most)

    @torch.no_grad()
    def targets(self, batch: Transitions) -> Tensor:
        """[m, B]: of the reward, and of each auxiliary signal."""
        signals = torch.cat((batch.reward[:, None], batch.next_obs[:, self.columns]), -1).T
        after = torch.where(batch.terminated, 0.0, self.target_critic(batch.next_obs))
        return signals + self.discounts * after

    def target(self, batch: Transitions) -> Tensor:
        """[B]: of the reward."""
        return self.targets(batch)[0]

    def after_step(self, phase: Hashable = None) -> None:
        self.target_critic.follow()

    @torch.no_grad()
    def exploit(self, obs: Tensor, mask: Tensor | None = None, memory: Any = None) -> tuple[Action, Any]:
        return self.explore(obs, mask, memory)
