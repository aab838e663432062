"""DRL portfolio with an average-Sharpe reward: PPO that is paid the Sharpe ratio of its episode so far.

The environment's reward rho is the log return of a period. What is learned from is a statistic of the episode:

    reward      r_t = sqrt(periods) mean(rho_1..rho_t) / std(rho_1..rho_t);  its mean over an episode is the average
                Sharpe ratio.  0 before the fifth step of an episode: the ratio of few returns is mostly noise
    sampling    episodes begin on random days (the environment's part: see `envs.portfolio`)
    extractor   prices are an image, assets by days with features as channels, that goes through convolutions
    action      a Gaussian, which the environment turns into weights by a softmax; no short positions
    policy      -mean min(r A, clip(r, 1 - clip, 1 + clip) A),  A from generalised advantage estimation: PPO
    value       mean 0.5 (V(s) - (A + V_behaviour(s)))^2

`reward` chooses what is learned from: sharpe (the method); return, rho itself; terminal, the Sharpe ratio of the whole
episode at its end; differential, that of Moody & Saffell 1998. Scores of a run are the environment's own: log returns.

Differences from the paper: no division by the episode's length, a constant that the scaling of rewards takes out; what
the running ratio depends on is seen (`past` of the environment), as the reward would not be a function of the state
without; statistics of observations are running ones and those of training, never of days to come; a smaller stack of
convolutions, the actor's and the critic's own. Any environment will do whose rewards are returns.
Source: Huang et al. 2024, A Deep Reinforcement Learning Framework for Dynamic Portfolio Optimization: Evidence from
China's Stock Market (2412.18563), and the authors' code.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from actrix.actors.categorical import Categorical
from actrix.actors.gaussian import Gaussian
from actrix.actors.stochastic import stochastic
from actrix.critics.values import StateValue
from actrix.data.batches import Steps
from actrix.nets.normaliser import RewardScaler, observer_of
from actrix.nets.panel import PanelNet
from actrix.nets.sharpe import DifferentialSharpe, EpisodeStatistic, RunningSharpe
from actrix.objectives import proximal, reduce
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.feeds import RolloutFeed
from actrix.run.learner import Learner, Losses
from actrix.run.options import choice
from actrix.spec import Choices, Spec


@dataclass(frozen=True)
class Config:
    reward: str = "sharpe"  # sharpe (the method), return, terminal or differential
    periods: float = 252.0  # periods of return in a year: the unit of the Sharpe ratio
    filters: tuple[int, ...] = (8, 16)  # channels of each convolution of the panels; none: a perceptron
    hidden: tuple[int, ...] = (64,)  # units of each hidden layer after them, actor and critic (tanh)
    rate: float = 3e-4  # Adam learning rate
    discount: float = 0.99  # per environment step
    decay: float = 0.95  # lambda of generalised advantage estimation
    clip: float = 0.2  # bound on the change of a probability ratio
    value_weight: float = 0.5  # weight of the value loss
    entropy_weight: float = 0.0  # weight of the entropy bonus, per nat
    clip_norm: float = 0.5  # bound on the gradient's norm
    log_std: float = -1.0  # initial log standard deviation of continuous actions, in canonical actions
    normalise_obs: bool = True  # centre and scale observations by running statistics (images are left alone)
    scale_reward: bool = True  # divide rewards by the running standard deviation of the discounted return
    normalise_advantage: bool = True  # standardise advantages in each minibatch
    horizon: int = 128  # steps of each environment between updates
    epochs: int = 10  # passes over each batch of experience
    minibatch: int = 256  # steps per gradient; 0 is all
    envs: int = 16  # environments stepped together


@system("sharpe-portfolio", family="finance", paper="2412.18563", acts=("box", "discrete"))
class SharpePortfolio(Learner):
    feed = RolloutFeed
    actor: Categorical | Gaussian

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        choice(config, "reward", "sharpe", "return", "terminal", "differential")
        outputs = sum(spec.action.sizes) if isinstance(spec.action, Choices) else spec.action.size
        policy = PanelNet(spec, config.hidden, outputs, config.filters, head_gain=0.01)
        self.actor = stochastic(spec, log_std=config.log_std, net=policy)
        self.critic = StateValue(spec, net=PanelNet(spec.for_critic(), config.hidden, 1, config.filters))
        self.observer = observer_of(spec) if config.normalise_obs else None
        self.scaler = RewardScaler(config.discount) if config.scale_reward else None
        judges: dict[str, EpisodeStatistic] = {
            "sharpe": RunningSharpe(config.periods),
            "terminal": RunningSharpe(config.periods, last=True),
            "differential": DifferentialSharpe(),
        }
        self.judge = judges.get(config.reward)
        adam = Adam(config.rate, epsilon=1e-5, clip_norm=config.clip_norm)
        self.optimise(policy=((self.actor, self.critic), adam))

    def paid(self, steps: Steps) -> Tensor:
        if self.judge is not None:
            judged = self.judge(steps.reward, steps.terminated | steps.truncated, steps.action_mask)
            steps = replace(steps, reward=judged)
        return super().paid(steps)

    def forget(self) -> None:
        super().forget()
        if self.judge is not None:
            self.judge.forget()

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        return self.critic.credit(steps, self.config.discount, self.config.decay, self.paid(steps))

    def losses(self, batch: Steps, phase: Hashable = None) -> Losses:
        config, mask = self.config, batch.action_mask
        assert batch.target is not None
        said = self.actor.evaluate(batch.obs, batch.action, batch.mask)
        policy, notes = proximal(batch, *said, config.clip, config.entropy_weight, config.normalise_advantage)
        error = 0.5 * (self.critic(batch.obs) - batch.target).square()
        value_loss = reduce(error, mask, "token", batch.total)
        return Losses(policy=policy + config.value_weight * value_loss).note(value_loss=value_loss, **notes)
