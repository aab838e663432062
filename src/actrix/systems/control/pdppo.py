"""PDPPO: PPO with a second critic, which looks at what is known of the next state once it is decided.

Where a step is a known effect of the action followed by chance (made and stored, then the demand; a move, then a slip),
s_post = g(s, a) is the state in between. A second value is learned of it, and the smaller of the two is the baseline.

    return     G_t = sum_k (discount decay)^k (...), the target of generalised advantage estimation by V; with decay 1
               the sum of rewards to the end of the episode, and the value V there if the episode only was cut off
    advantage  A = G - min(V(s), V_post(s_post)); from there on as in PPO
    policy     -mean min(r A, clip(r, 1 - clip, 1 + clip) A) - entropy_weight mean H(pi(.|s)),  r = pi(a|s) / pi_k(a|s)
    values     mean 0.5 (V(s) - G)^2 + mean 0.5 (V_post(s_post) - G)^2; `joint`: mean 0.5 (min(V, V_post) - G)^2, which
               moves the smaller only, as in the paper

A baseline that knows the action is biased: it takes away part of what the action has done. `baseline` chooses: min (the
paper); state, V(s) (PPO); post, V_post(s_post), from which little is left but chance; gain, A = V_post(s_post) - V(s)
without G, which is unbiased as far as the values are right and the reward follows from s_post. `post_state` off gives
the second critic s itself: two critics and nothing known.

As PPO here does, and unlike the authors: rewards are scaled by running statistics instead of standardising G in each
batch (which would move the values with every batch), advantages are standardised, several choices have one joint ratio
(theirs: one each), orthogonal initialisation, and no weight decay. Their code asks V for the baseline at s_post in its
FrozenLake, and V_post in lot sizing, as here. Environments say g by `post_decision` (see `envs.lots`).
Source: Felizardo et al. 2025, A Reinforcement Learning Method for Environments with Stochastic Variables: Post-Decision
Proximal Policy Optimization with Dual Critic Networks (2504.05150), and the authors' code (leokan92/pdppo).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import torch

from actrix.actors.categorical import Categorical
from actrix.actors.gaussian import Gaussian
from actrix.actors.stochastic import stochastic
from actrix.critics.values import StateValue
from actrix.data.batches import Steps
from actrix.errors import ActrixError
from actrix.nets.normaliser import RewardScaler, observer_of
from actrix.objectives import proximal, reduce
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.feeds import RolloutFeed
from actrix.run.learner import Learner, Losses
from actrix.run.settings import Rollouts
from actrix.spec import Spec

BASELINES = ("min", "state", "post", "gain")


@dataclass(frozen=True)
class Config(Rollouts):
    baseline: str = "min"  # what is taken from the return: min (the method), state, post; gain replaces the return too
    joint: bool = False  # one loss of the smaller value instead of one of each
    post_state: bool = True  # False: the second critic sees the state before the decision
    hidden: tuple[int, ...] = (128, 128)  # units of each hidden layer, actor and critics (tanh)
    rate: float = 3e-4  # Adam learning rate of the policy
    value_rate: float = 1e-3  # Adam learning rate of the values
    decay: float = 1.0  # lambda of generalised advantage estimation; 1 is the whole return
    clip: float = 0.2  # bound on the change of a probability ratio
    entropy_weight: float = 0.012  # weight of the entropy bonus, per nat
    scale_reward: bool = True  # divide rewards by the running standard deviation of the discounted return
    clip_norm: float = 1.0  # bound on each gradient's norm
    horizon: int = 512  # steps of each environment between updates
    epochs: int = 10  # passes over each batch of experience (40 to 80 over the whole batch in the paper)
    minibatch: int = 128  # steps per gradient; 0 is all
    envs: int = 4  # environments stepped together


@system(
    "pdppo",
    family="control",
    paper="2504.05150",
    acts=("box", "unbounded box", "discrete", "multidiscrete", "multibinary"),
)
class PDPPO(Learner):
    feed = RolloutFeed
    wants_post = True
    actor: Categorical | Gaussian

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        if config.baseline not in BASELINES:
            raise ActrixError(f"--baseline is {', '.join(BASELINES)}, not {config.baseline!r}", misuse=True)
        self.actor = stochastic(spec, config.hidden, config.log_std)
        self.critic = StateValue(spec, config.hidden)
        self.post = StateValue(spec, config.hidden)
        self.observer = observer_of(spec) if config.normalise_obs else None
        self.scaler = RewardScaler(config.discount) if config.scale_reward else None
        policy, value = (Adam(r, epsilon=1e-5, clip_norm=config.clip_norm) for r in (config.rate, config.value_rate))
        self.optimise(policy=(self.actor, policy), value=((self.critic, self.post), value))

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        if not self.config.post_state:
            steps = replace(steps, post_obs=steps.obs)
        steps = self.critic.credit(steps, self.config.discount, self.config.decay, self.paid(steps))
        assert steps.advantage is not None
        assert steps.target is not None
        value, post = steps.target - steps.advantage, self.post(steps.post_obs)
        return replace(
            steps,
            advantage={
                "min": steps.target - torch.minimum(value, post),
                "state": steps.advantage,
                "post": steps.target - post,
                "gain": post - value,
            }[self.config.baseline],
        )

    def losses(self, batch: Steps, phase: Hashable = None) -> Losses:
        config = self.config
        assert batch.target is not None
        said = self.actor.evaluate(batch.obs, batch.action, batch.mask)
        policy, notes = proximal(batch, *said, config.clip, config.entropy_weight, config.normalise_advantage)
        value, post = self.critic(batch.obs), self.post(batch.post_obs)
        judged = [torch.minimum(value, post)] if config.joint else [value, post]
        errors = [reduce(0.5 * (v - batch.target).square(), batch.action_mask, "token", batch.total) for v in judged]
        losses = Losses(policy=policy, value=torch.stack(errors).sum())
        return losses.note(value_error=errors[0], post_error=errors[-1], **notes)
