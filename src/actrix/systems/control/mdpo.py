"""MDPO: several gradient steps on each step of mirror descent, which a price on the distance holds back.

Mirror descent in the space of policies: the next policy maximises the return, linearised where the last one is, less
the distance that it goes. The maximum is not found but approached, by all gradient steps on one batch of experience;
then the new policy takes the place of the last.

    policy  -mean r A + mean KL(pi(.|s) || pi_k(.|s)) / t_k,  r = pi(a|s) / pi_k(a|s), pi_k the policy that acted
    t_k     = step_size (1 - k / K), falling in K batches; the exact maximum would be pi_k exp(t_k A), normalised
    value   mean 0.5 (V(s) - (A + V_k(s)))^2, its change bounded as in PPO
    A       generalised advantage estimation, standardised in each minibatch

The divergence is that of the new policy from the old one, in closed form. In the first gradient step of a batch it is
0 with its gradient: with one step a batch (--epochs 1 --minibatch 0) nothing is held back, and it is a plain policy
gradient. Nothing bounds the ratio. As in the authors' code: gradient norm bounded by 0.5, Adam with epsilon 1e-5,
observations and rewards scaled by running statistics. There the policy takes 10 steps on all of a batch, and the value
five passes in minibatches of 128; here both take the same passes, by default ten in minibatches of 128. Without
`anneal`, which is to be set to the length of the run, t_k stays at `step_size`; it never falls below that of the last
batch. The Tsallis divergence of the paper is not here. Off-policy: `mdpo-off-policy`.
Source: Tomar et al. 2020, Mirror Descent Policy Optimization (2005.09814), section 4 and algorithm 1, and the authors'
code (manantomar/Mirror-Descent-Policy-Optimization).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from actrix import credit
from actrix.actors.categorical import Categorical
from actrix.actors.gaussian import Gaussian
from actrix.actors.stochastic import stochastic
from actrix.critics.values import StateValue
from actrix.data.batches import Steps
from actrix.nets.normaliser import RewardScaler, observer_of
from actrix.nets.targets import Tracked, tracked
from actrix.objectives import clipped_value, mirrored, reduce
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.feeds import RolloutFeed
from actrix.run.learner import Learner, Losses
from actrix.run.settings import Rollouts
from actrix.spec import Spec


@dataclass(frozen=True)
class Config(Rollouts):
    step_size: float = 1.0  # of mirror descent (t), in nats of log-policy per standardised advantage
    anneal: int = 0  # environment steps in which it falls to 0, linearly; 0 keeps it
    rate: float = 3e-4  # Adam learning rate of the policy
    value_rate: float = 1e-3  # Adam learning rate of the value
    value_clip: float | None = 0.2  # bound on a value's change, in units of scaled return; None: no bound
    scale_reward: bool = True  # divide rewards by the running standard deviation of the discounted return
    minibatch: int = 128  # steps per gradient; 0 is all


@system(
    "mdpo",
    family="control",
    paper="2005.09814",
    acts=("box", "unbounded box", "discrete", "multidiscrete", "multibinary"),
)
class MDPO(Learner):
    feed = RolloutFeed
    actor: Categorical | Gaussian
    before: Tracked[Categorical | Gaussian]
    seen: Tensor
    step_size: Tensor

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        self.actor = stochastic(spec, config.hidden, config.log_std)
        self.before = tracked(self.actor, 1.0)  # pi_k
        self.critic = StateValue(spec, config.hidden)
        self.observer = observer_of(spec) if config.normalise_obs else None
        self.scaler = RewardScaler(config.discount) if config.scale_reward else None
        policy, value = (Adam(r, epsilon=1e-5, clip_norm=config.clip_norm) for r in (config.rate, config.value_rate))
        self.optimise(policy=(self.actor, policy), value=(self.critic, value))
        self.register_buffer("seen", torch.zeros((), dtype=torch.float64))  # environment steps, for annealing
        self.register_buffer("step_size", torch.tensor(config.step_size))

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        self.before.follow()
        if self.config.anneal:
            fresh = steps.action_mask.sum()
            left = (1 - self.seen / self.config.anneal).clamp(min=fresh / self.config.anneal)
            self.step_size.copy_(self.config.step_size * left)
            self.seen += fresh
        return self.critic.credit(steps, self.config.discount, self.config.decay, self.paid(steps))

    def losses(self, batch: Steps, phase: Hashable = None) -> Losses:
        config, mask = self.config, batch.action_mask
        assert batch.advantage is not None
        assert batch.target is not None
        advantage = batch.advantage
        if config.normalise_advantage:
            advantage = credit.standardise(advantage, mask)
        logp, entropy = self.actor.evaluate(batch.obs, batch.action, batch.mask)
        kl = self.actor.kl(batch.obs, self.before.copy, batch.mask)  # type: ignore[arg-type]
        error = clipped_value(self.critic(batch.obs), batch.target, batch.target - batch.advantage, config.value_clip)
        per_step = mirrored(logp, batch.logp_behaviour, advantage, kl, self.step_size)
        return Losses(
            policy=reduce(per_step, mask, "token", batch.total), value=reduce(error, mask, "token", batch.total)
        ).note(
            kl=reduce(kl, mask, "token", batch.total),
            entropy=reduce(entropy, mask, "token", batch.total),
            step_size_value=self.step_size,
        )
