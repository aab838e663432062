"""PPO: several passes of clipped policy improvement over each batch of fresh experience.

    advantage  A_t = sum_k (discount decay)^k d_{t+k}, to the end of the episode or of the batch
               d_t = r_t + discount (1 - terminated) V(s_{t+1}) - V(s_t)
    policy     -mean min(r A, clip(r, 1 - clip, 1 + clip) A),  r = pi(a|s) / pi_behaviour(a|s)
    value      mean 0.5 (V(s) - (A + V_behaviour(s)))^2
    loss       policy + value_weight value - entropy_weight mean H(pi(.|s))

One optimiser moves actor and critic together. As in the reference code: orthogonal initialisation, Adam with
epsilon 1e-5, gradient norm bounded by 0.5, advantages standardised in each minibatch, observations
normalised and rewards scaled by running statistics (which belong to the learner). Time limits bootstrap.
Source: Schulman et al. 2017, Proximal Policy Optimization Algorithms (1707.06347), eq. 7, 9 and 11; details
as listed in Huang et al. 2022, The 37 Implementation Details of Proximal Policy Optimization.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from actrix.actors.categorical import Categorical
from actrix.actors.gaussian import Gaussian
from actrix.actors.stochastic import stochastic
from actrix.critics.values import StateValue
from actrix.data.batches import Steps
from actrix.nets.normaliser import RewardScaler, observer_of
from actrix.objectives import clipped_value, proximal, reduce
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.feeds import RolloutFeed
from actrix.run.learner import Learner, Losses
from actrix.run.settings import Proximal
from actrix.spec import Spec


@dataclass(frozen=True)
class Config(Proximal):
    anneal: int = 0  # environment steps in which the learning rate falls to 0, linearly; 0 keeps it
    value_clip: float | None = None  # bound on a value's change, in units of scaled return; None: no bound
    scale_reward: bool = True  # divide rewards by the running standard deviation of the discounted return


@system(
    "ppo",
    family="control",
    paper="1707.06347",
    acts=("box", "unbounded box", "discrete", "multidiscrete", "multibinary"),
)
class PPO(Learner):
    feed = RolloutFeed
    actor: Categorical | Gaussian
    seen: Tensor

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        self.actor = stochastic(spec, config.hidden, config.log_std)
        self.critic = StateValue(spec, config.hidden)
        self.observer = observer_of(spec) if config.normalise_obs else None
        self.scaler = RewardScaler(config.discount) if config.scale_reward else None
        adam = Adam(config.rate, epsilon=1e-5, clip_norm=config.clip_norm)
        self.optimise(policy=((self.actor, self.critic), adam))
        self.register_buffer("seen", torch.zeros((), dtype=torch.float64))  # environment steps, for annealing

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        if self.config.anneal:
            left = (1 - self.seen / self.config.anneal).clamp(min=0)
            self.optimiser.set_rate("policy", self.config.rate * left)
        self.seen += steps.action_mask.sum()
        return self.critic.credit(steps, self.config.discount, self.config.decay, self.paid(steps))

    def losses(self, batch: Steps, phase: Hashable = None) -> Losses:
        config, mask = self.config, batch.action_mask
        assert batch.advantage is not None
        assert batch.target is not None
        said = self.actor.evaluate(batch.obs, batch.action, batch.mask)
        policy, notes = proximal(batch, *said, config.clip, config.entropy_weight, config.normalise_advantage)
        before = batch.target - batch.advantage
        error = clipped_value(self.critic(batch.obs), batch.target, before, config.value_clip)
        value_loss = reduce(error, mask, "token", batch.total)
        return Losses(policy=policy + config.value_weight * value_loss).note(value_loss=value_loss, **notes)
