"""A2C: one policy-gradient step on each short batch of fresh experience, against a learned value.

    return  R_t = r_t + discount r_{t+1} + ... + discount^n V(s_{t+n}), n to the end of the batch: decay 1
    policy  -mean log pi(a|s) (R - V(s))
    value   mean 0.5 (V(s) - R)^2
    loss    policy + value_weight value - entropy_weight mean H(pi(.|s))

The synchronous form of A3C: the environments step together and one learner moves. `decay` below 1 is
generalised advantage estimation. The paper's RMSprop is here Adam with betas (0, 0.99): the same step with
the bias of its first running squares corrected. Time limits bootstrap.
Source: Mnih et al. 2016, Asynchronous Methods for Deep Reinforcement Learning (1602.01783), algorithm S3.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

from actrix.actors.categorical import Categorical
from actrix.actors.gaussian import Gaussian
from actrix.actors.stochastic import stochastic
from actrix.critics.values import StateValue
from actrix.data.batches import Steps
from actrix.nets.normaliser import observer_of
from actrix.objectives import policy_gradient, reduce
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.feeds import RolloutFeed
from actrix.run.learner import Learner, Losses
from actrix.spec import Spec


@dataclass(frozen=True)
class Config:
    hidden: tuple[int, ...] = (64, 64)  # units of each hidden layer, actor and critic (tanh)
    rate: float = 7e-4  # learning rate
    squares_decay: float = 0.99  # of the optimiser's running squares, per update
    discount: float = 0.99  # per environment step
    decay: float = 1.0  # lambda of generalised advantage estimation; 1 is the n-step return
    value_weight: float = 0.5  # weight of the value loss
    entropy_weight: float = 0.01  # weight of the entropy bonus, per nat (0 is usual for continuous actions)
    clip_norm: float = 0.5  # bound on the gradient's norm
    log_std: float = 0.0  # initial log standard deviation of continuous actions, in canonical actions
    normalise_obs: bool = False  # centre and scale observations by running statistics (images are left alone)
    horizon: int = 5  # steps of each environment between updates
    envs: int = 16  # environments stepped together


@system(
    "a2c",
    family="control",
    paper="1602.01783",
    acts=("box", "unbounded box", "discrete", "multidiscrete", "multibinary"),
)
class A2C(Learner):
    feed = RolloutFeed
    actor: Categorical | Gaussian

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        self.actor = stochastic(spec, config.hidden, config.log_std)
        self.critic = StateValue(spec, config.hidden)
        self.observer = observer_of(spec) if config.normalise_obs else None
        betas = (0.0, config.squares_decay)
        rmsprop = Adam(config.rate, betas, epsilon=1e-5, clip_norm=config.clip_norm)
        self.optimise(policy=((self.actor, self.critic), rmsprop))

    def prepare(self, steps: Steps) -> Steps:
        return self.critic.credit(steps, self.config.discount, self.config.decay)

    def losses(self, batch: Steps, phase: Hashable = None) -> Losses:
        mask = batch.action_mask
        assert batch.advantage is not None
        assert batch.target is not None
        logp, entropy = self.actor.evaluate(batch.obs, batch.action, batch.mask)
        policy = reduce(policy_gradient(logp, batch.advantage), mask, "token", batch.total)
        value = reduce(0.5 * (self.critic(batch.obs) - batch.target).square(), mask, "token", batch.total)
        spread = reduce(entropy, mask, "token", batch.total)
        loss = policy + self.config.value_weight * value - self.config.entropy_weight * spread
        return Losses(policy=loss).note(value_loss=value, entropy=spread)
