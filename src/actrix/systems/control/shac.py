"""SHAC: short-horizon actor-critic. The simulator itself says how the reward changes with what the policy does.

Where a step of the world is a differentiable function, a policy can be improved by the derivative of its return
instead of by comparing actions. Over long paths that derivative explodes and gets stuck; so paths are short, and what
lies beyond them is what a critic says of their last state, which is smooth.

    worth   W = sum_{t<h} discount^t r_t + discount^h V'(s_h)      anew where an episode begins; V' = 0 where one failed
    actor   -mean slope . a(parameters; o, noise),  slope = dW/da, the total derivative through world and policy:
            the gradient of -W / h in the parameters, as one batch of all steps (see `run.paths.PathFeed`)
    critic  mean 0.5 (V(s) - y)^2,  y the TD(decay) return under V';  V' follows V by target_rate at each of its updates

Actions are a = tanh(mean(o)) + std noise; the world brings them to their bounds. Critics see the privileged part of an
observation. Here the target follows at every update of the critic instead of once a round, and networks are smaller.
Source: Xu et al. 2022, Accelerated Policy Learning with Parallel Differentiable Simulation (2204.07137), section 4.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from actrix.actors.gaussian import Gaussian
from actrix.critics.values import StateValue
from actrix.data.batches import Steps
from actrix.nets.normaliser import observer_of
from actrix.nets.targets import tracked
from actrix.objectives import reduce
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.learner import Learner, Losses
from actrix.run.paths import PathFeed
from actrix.spec import Box, Spec


@dataclass(frozen=True)
class Config:
    hidden: tuple[int, ...] = (64, 64)  # units of each hidden layer, actor and critic (tanh)
    rate: float = 2e-3  # Adam learning rate of both
    anneal: int = 0  # environment steps in which the learning rate falls to a tenth, linearly; 0 keeps it
    betas: tuple[float, float] = (0.7, 0.95)  # Adam's decay of first and second moments, actor
    discount: float = 0.99  # per environment step
    decay: float = 0.95  # lambda of the critic's targets
    terminal_value: bool = True  # what lies beyond a path counts, by the critic; off: a path is all there is
    target_rate: float = 0.1  # Polyak rate of the target critic, per update of the critic
    clip_norm: float = 1.0  # bound on the norm of each gradient
    log_std: float = -2.3  # initial log standard deviation of actions, in canonical actions (a range of 2)
    normalise_obs: bool = False  # centre and scale observations by running statistics (the authors do)
    horizon: int = 32  # steps of a path
    epochs: int = 2  # passes of the critic over each batch of experience
    minibatch: int = 1024  # steps per gradient of the critic; 0 is all
    envs: int = 64  # environments stepped together


@system("shac", family="control", paper="2204.07137", acts=("box", "unbounded box"))
class SHAC(Learner):
    feed = PathFeed
    actor: Gaussian
    seen: Tensor

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        bounded = isinstance(spec.action, Box) and spec.action.low is not None
        self.actor = Gaussian(spec, config.hidden, log_std=config.log_std, bounded=bounded)
        self.critic = StateValue(spec, config.hidden)
        self.target_critic = tracked(self.critic, config.target_rate)
        self.observer = observer_of(spec) if config.normalise_obs else None
        clip = config.clip_norm
        self.optimise(
            actor=(self.actor, Adam(config.rate, betas=config.betas, clip_norm=clip)),
            critic=(self.critic, Adam(config.rate, clip_norm=clip)),
        )
        self.register_buffer("seen", torch.zeros((), dtype=torch.float64))  # environment steps, for annealing

    def beyond(self, obs: Tensor) -> Tensor:
        value = self.target_critic(obs)
        return value if self.config.terminal_value else torch.zeros_like(value)

    @torch.no_grad()
    def prepare(self, steps: Steps) -> Steps:
        config = self.config
        if config.anneal:
            left = 0.1 + 0.9 * (1 - self.seen / config.anneal).clamp(min=0)
            for group in ("actor", "critic"):
                self.optimiser.set_rate(group, config.rate * left)
        self.seen += steps.action_mask.sum()
        judged = self.target_critic.copy.credit(steps, config.discount, config.decay)
        return replace(steps, target=judged.target)

    def losses(self, batch: Steps, phase: Hashable = None) -> Losses:
        losses, mask = Losses(), batch.action_mask
        if phase != "critic":
            assert batch.slope is not None
            gain = (batch.slope * self.actor.again(batch.obs, batch.action)).sum(-1)
            losses.groups["actor"] = -reduce(gain, mask, "token", batch.total)
            losses.note(steepness=batch.slope.norm(dim=-1).mean(), std=self.actor.log_std.exp().mean())
        if phase != "actor":
            assert batch.target is not None
            error = 0.5 * (self.critic(batch.obs) - batch.target).square()
            losses.groups["critic"] = reduce(error, mask, "token", batch.total)
        return losses

    @torch.no_grad()
    def after_step(self, phase: Hashable = None) -> None:
        if phase != "actor":
            self.target_critic.follow()
