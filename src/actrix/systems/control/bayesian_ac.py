"""Bayesian actor-critic: the gradient of the policy is inferred from what was seen, its value being a Gaussian process.

The policy is linear in fixed features of the observation, and has scores u(z) = grad log pi(a|s), z = (s, a). The prior
of Q has a kernel of which only the part that the gradient can see has to be a special one:

    kernel    k(z, z') = exp(-|s - s'|^2 / (2 length^2)) + u(z)^T G^-1 u(z'),  G = mean of u u^T, and a ridge
    value     r_t = Q(z_t) - discount Q(z_{t+1}) + what chance adds (variance `noise` of a return); Q given all r is
              sum_t w_t k(., z_t)
    gradient  its posterior mean is sum_t w_t u_t; the natural one G^-1 sum_t w_t u_t
    step      theta += rate * gradient, after which everything seen is forgotten

`estimate="returns"` takes the Monte-Carlo gradient instead, w_t = (return_t - mean return) / T. What is computed of a
round is cubic in its steps: the paper's sparse dictionary, which bounds that, is not here, nor are steps whose length
depends on how certain the gradient is.

Source: Ghavamzadeh, Engel and Valko 2016, Bayesian Policy Gradient and Actor-Critic Algorithms (JMLR 17:66), section 6.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import torch

from actrix import credit
from actrix.actors.categorical import Categorical
from actrix.actors.gaussian import Gaussian
from actrix.actors.linear import inner_scores
from actrix.actors.stochastic import stochastic
from actrix.critics import bayesian
from actrix.data.batches import Steps
from actrix.errors import ActrixError
from actrix.nets.features import Features, LinearNet
from actrix.nets.normaliser import RewardScaler, observer_of
from actrix.objectives import policy_gradient, reduce
from actrix.optim import SGD
from actrix.registry import system
from actrix.run.feeds import RolloutFeed
from actrix.run.learner import Learner, Losses
from actrix.run.options import choice
from actrix.spec import Choices, Spec

MOST = 4_096  # steps of a round


@dataclass(frozen=True)
class Config:
    estimate: str = "process"  # process, or returns: the Monte-Carlo gradient, less the mean return
    natural: bool = True  # whether the step is along the natural gradient
    features: int = 128  # cosines that the policy is linear in; 0: the observation itself
    length: float = 1.0  # over which states' values resemble each other, in (normalised) observations; of features too
    noise: float = 1.0  # variance of returns about their mean, in (scaled) reward squared
    ridge: float = 1e-2  # added to the Fisher information, as a share of its mean eigenvalue
    rate: float = 0.1  # length of a step, in gradients
    clip_norm: float = 1.0  # bound on the gradient's norm
    discount: float = 0.99  # per environment step
    log_std: float = 0.0  # initial log standard deviation of continuous actions, in canonical actions
    normalise_obs: bool = True  # centre and scale observations by running statistics (images are left alone)
    scale_reward: bool = True  # divide rewards by the running standard deviation of the discounted return
    horizon: int = 200  # steps of each environment between updates
    envs: int = 4  # environments stepped together


@system(
    "bayesian-ac",
    family="control",
    paper="JMLR 17:66",
    acts=("box", "unbounded box", "discrete", "multidiscrete", "multibinary"),
)
class BayesianAC(Learner):
    feed = RolloutFeed
    actor: Categorical | Gaussian

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        if config.horizon * config.envs > MOST:
            raise ActrixError(
                f"--horizon {config.horizon} with --envs {config.envs} are {config.horizon * config.envs} steps a "
                f"round, of whose square the posterior needs a matrix",
                f"give at most {MOST} together",
                misuse=True,
            )
        choice(config, "estimate", "process", "returns")
        outputs = sum(spec.action.sizes) if isinstance(spec.action, Choices) else spec.action_size
        net = LinearNet(Features(spec, config.features, config.length), outputs)
        self.actor = stochastic(spec, log_std=config.log_std, net=net)
        self.observer = observer_of(spec) if config.normalise_obs else None
        self.scaler = RewardScaler(config.discount) if config.scale_reward else None
        self.optimise(actor=(self.actor, SGD(config.rate, config.clip_norm)))

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        """What every step weighs in the gradient, times the number of steps, as its advantage."""
        config, acts = self.config, steps.action_mask
        reward = self.paid(steps)
        over = steps.terminated | steps.truncated
        # the successor of a step is the next one of its row, if that was decided and the episode goes on
        next_acts = torch.cat((acts[:, 1:], torch.zeros_like(acts[:, :1])), 1)
        goes_on, ended = (acts & ~over & next_acts)[acts], steps.terminated[acts]
        rows = steps.map(lambda x: x[acts] if x.ndim >= 2 else x)
        scores = inner_scores(self.actor, rows.obs, rows.action, rows.mask)
        if config.estimate == "process":
            kernel = bayesian.gaussian_kernel(rows.obs, config.length) + bayesian.fisher_kernel(scores, config.ridge)
            weight = bayesian.gptd(kernel, reward[acts], goes_on, ended, config.discount, config.noise)
        else:
            nothing = torch.zeros_like(reward)
            flags = (steps.terminated, steps.truncated)
            returns = credit.gae(reward, nothing, nothing, *flags, config.discount, 1.0, acts)[0][acts]
            weight = (returns - returns.mean()).double() / len(returns)
        if config.natural:
            weight = bayesian.natural(scores, weight, config.ridge)
        advantage = torch.zeros_like(reward)
        advantage[acts] = (len(weight) * weight).to(advantage.dtype)
        return replace(steps, advantage=advantage)

    def losses(self, batch: Steps, phase: Hashable = None) -> Losses:
        assert batch.advantage is not None
        logp, entropy = self.actor.evaluate(batch.obs, batch.action, batch.mask)
        loss = reduce(policy_gradient(logp, batch.advantage), batch.action_mask, "token", batch.total)
        return Losses(actor=loss).note(entropy=reduce(entropy, batch.action_mask, "token", batch.total))
