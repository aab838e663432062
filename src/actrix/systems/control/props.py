"""PROPS: PPO on data that look on-policy, because who gathers them goes after what is missing.

A policy gradient needs actions in the proportions that the policy gives them. A finite sample has others, and old
batches are of other policies. Here a behaviour policy gathers the data: it begins at the policy, every few steps, and
is moved so that what has been done too often so far becomes less likely; then old and new data together are closer to
the policy than a sample of it would be, and are learned from as if they were one, without importance weights.

    behaviour   phi = theta, every `adapt_every` steps; then on all data at hand, old and new, Adam steps on
                mean max(r, clip(r, 1 - adapt_clip, 1 + adapt_clip)) + regularise mean KL(pi_theta(.|s) || pi_phi(.|s)),
                r = pi_phi(a|s) / pi_theta(a|s), until an estimate of KL(pi_theta || pi_phi) is more than adapt_kl
    policy      PPO on the last `batches` batches, r = pi(a|s) / pi_theta(a|s) with theta from before these updates for
                old and new data alike; advantages and targets of old data by the present value

The behaviour's loss is PPO's own with an advantage of -1 everywhere: a probability falls until it is less by
adapt_clip. With adapt_every 0 the policy acts itself: PPO with a buffer; with batches 1 too, PPO. One Adam step on the
mean of r, without bounds, is ROS (2111.14552). As in the authors' code old observations and rewards stay scaled as they
were, and Adam's moments outlast a restart of the behaviour; the KL term is in the paper only. For discrete actions
they use adapt_kl 0.01, adapt_every 16 and 4 minibatches. Checkpoints empty the buffer (see `run.behaviour`).
Source: Corrado & Hanna 2023, On-Policy Policy Gradient Reinforcement Learning Without On-Policy Sampling (2311.08290),
algorithms 1 and 2, and the authors' code (NicholasCorrado/PROPS).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from actrix.actors.base import Action
from actrix.actors.categorical import Categorical
from actrix.actors.gaussian import Gaussian
from actrix.actors.stochastic import stochastic
from actrix.critics.values import StateValue
from actrix.data.batches import Steps
from actrix.nets.normaliser import RewardScaler, observer_of
from actrix.nets.targets import assign
from actrix.objectives import clipped, clipped_value, kl_estimate, proximal, reduce
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.behaviour import BehaviourFeed
from actrix.run.learner import Learner, Losses
from actrix.run.settings import Proximal
from actrix.spec import Spec


@dataclass(frozen=True)
class Config(Proximal):
    batches: int = 2  # of experience that are learned from, the newest included
    adapt_every: int = 8  # steps of each environment after which the behaviour policy begins anew; 0: the policy acts
    adapt_epochs: int = 16  # passes of the behaviour policy over all data at hand, at most
    adapt_minibatches: int = 16  # pieces of such a pass
    adapt_rate: float = 1e-3  # Adam learning rate of the behaviour policy
    adapt_clip: float = 0.3  # how much less likely an action becomes, as a share
    adapt_kl: float = 0.1  # distance of the behaviour policy at which it stops, nats
    regularise: float = 0.1  # weight of KL(policy || behaviour) in the behaviour's loss
    rate: float = 1e-3  # Adam learning rate of policy and value
    anneal: int = 0  # environment steps in which that rate falls to 0, linearly (in the paper: all); 0 keeps it
    value_clip: float | None = 0.2  # bound on a value's change, in units of scaled return; None: no bound
    entropy_weight: float = 0.01  # weight of the entropy bonus, per nat
    scale_reward: bool = True  # divide rewards by the running standard deviation of the discounted return
    epochs: int = 10  # passes over all batches at hand
    minibatch: int = 128  # steps per gradient of the policy; 0 is all


@system(
    "props",
    family="control",
    paper="2311.08290",
    acts=("box", "unbounded box", "discrete", "multidiscrete", "multibinary"),
)
class PROPS(Learner):
    feed = BehaviourFeed
    actor: Categorical | Gaussian
    seen: Tensor

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        self.actor = stochastic(spec, config.hidden, config.log_std)
        self.behaviour = stochastic(spec, config.hidden, config.log_std)
        self.critic = StateValue(spec, config.hidden)
        self.observer = observer_of(spec) if config.normalise_obs else None
        self.scaler = RewardScaler(config.discount) if config.scale_reward else None
        policy, behaviour = (
            Adam(r, epsilon=1e-5, clip_norm=config.clip_norm) for r in (config.rate, config.adapt_rate)
        )
        self.optimise(policy=((self.actor, self.critic), policy), behaviour=(self.behaviour, behaviour))
        self.register_buffer("seen", torch.zeros((), dtype=torch.float64))  # environment steps, for annealing
        self.restart()

    def restart(self) -> None:
        assign(self.behaviour, self.actor)

    @torch.no_grad()
    def explore(self, obs: Tensor, mask: Tensor | None = None, memory: Any = None) -> tuple[Action, Any]:
        seen = self.perceive(obs)
        action = self.behaviour.act(seen, "sample", mask).action
        return Action(action, self.actor.evaluate(seen, action, mask)[0]), memory

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        if self.config.anneal:
            self.optimiser.set_rate("policy", self.config.rate * (1 - self.seen / self.config.anneal).clamp(min=0))
        self.seen += steps.action_mask.sum()
        return self.again(replace(steps, reward=self.paid(steps)))

    @torch.no_grad()
    def again(self, steps: Steps) -> Steps:
        """Steps [N, T] as if the present policy had sampled them: its log-probabilities, and credit by its value."""
        logp = self.actor.evaluate(steps.obs, steps.action, steps.mask)[0]
        return self.critic.credit(replace(steps, logp_behaviour=logp), self.config.discount, self.config.decay)

    def losses(self, batch: Steps, phase: Hashable = None) -> Losses:
        losses = Losses()
        if phase != "policy":
            self.correct(batch, losses)
        if phase != "behaviour":
            self.improve(batch, losses)
        return losses

    def correct(self, batch: Steps, losses: Losses) -> None:
        """What is in the batch becomes less likely."""
        config, policy = self.config, batch.logp_behaviour
        logp, _ = self.behaviour.evaluate(batch.obs, batch.action, batch.mask)
        away = clipped(logp, policy, -torch.ones_like(logp), config.adapt_clip)
        kl = self.actor.kl(batch.obs, self.behaviour, batch.mask)  # type: ignore[arg-type]
        losses.groups["behaviour"] = reduce(away + config.regularise * kl, batch.action_mask, "token", batch.total)
        distance = kl_estimate(policy, logp.detach())
        losses.note(distance=reduce(distance, batch.action_mask, "token", batch.total))

    def improve(self, batch: Steps, losses: Losses) -> None:
        """PPO."""
        config = self.config
        assert batch.advantage is not None
        assert batch.target is not None
        said = self.actor.evaluate(batch.obs, batch.action, batch.mask)
        policy, notes = proximal(batch, *said, config.clip, config.entropy_weight, config.normalise_advantage)
        error = clipped_value(self.critic(batch.obs), batch.target, batch.target - batch.advantage, config.value_clip)
        value_loss = reduce(error, batch.action_mask, "token", batch.total)
        losses.groups["policy"] = policy + config.value_weight * value_loss
        losses.note(value_loss=value_loss, **notes)
