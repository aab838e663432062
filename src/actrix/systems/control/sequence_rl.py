"""SRL: an actor that looks rarely and says several actions at a time, taught at every one of them.

A policy that decides at every fourth step has to know what to do until then. The actor, a recurrent network, says
`length` actions of one observation. Critics and a model of the dynamics know single steps only; the model, in training
only, says where each action would be done, and the critics, there, whether it is good ("temporal recall"). So what
comes out needs no model, and looks as often as one likes.

    actor   sum_j mean temperature log pi(a_j|a_{<j}, s) - min_i Q_i(s_j, a_j),  s_1 = s, s_{j+1} = M'(s_j, a_j)
            a_1 ... a_J from s and the action before it; the gradient goes through Q and the recurrence, not through M'
    target  y = r + discount (1 - terminated) (min_i Q'_i(s', a') - temperature log pi(a'|s')),  a' the first action
            that is said of s', after a
    critic  sum_i mean 0.5 (Q_i(s, a) - y)^2
    model   mean (M(s, a) - s')^2
    temperature  as in SAC, for the mean over j of log pi(a_j|.)
    Q' and M' follow by target_rate at every update; actor and temperature learn at every `delay`-th

Acting, it looks at every `length`-th step, in training too; `learner.actor.interval` says otherwise (at most length).
`act` on its own, `plan` and exported files decide as at an episode's beginning, where the action before is 0. Images
are seen as rows of numbers. Source: Patel & Siegelmann 2024, Overcoming Slow Decision Frequencies in Continuous
Control: Model-Based Sequence Reinforcement Learning for Model-Free Control (2410.08979), and its code. Its delay is not
known; its variant with a learned encoder is left out.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from actrix.actors.sequence import SequenceGaussian
from actrix.actors.temperature import Temperature
from actrix.credit import bootstrap
from actrix.critics.dynamics import Dynamics
from actrix.critics.values import QEnsemble
from actrix.data.batches import Transitions
from actrix.nets.encoder import Plain
from actrix.nets.targets import tracked
from actrix.objectives import regression
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.feeds import ReplayFeed
from actrix.run.learner import Learner, Losses
from actrix.spec import Spec


@dataclass(frozen=True)
class Config:
    length: int = 4  # actions said of one observation (J)
    hidden: tuple[int, ...] = (256, 256)  # units of each hidden layer; the last is also the width of the recurrence
    model_hidden: tuple[int, ...] = (400, 300)  # units of each hidden layer of the model
    rate: float = 3e-4  # Adam learning rate of all groups
    discount: float = 0.99  # per environment step
    target_rate: float = 0.005  # Polyak rate of target critics and target model, per update
    temperature: float = 1.0  # initial temperature, in units of reward per nat
    target_entropy: float | None = None  # nats of one action; None is minus the number of action dimensions
    delay: int = 4  # updates of critics and model per update of the actor
    batch: int = 256  # transitions per update
    capacity: int = 1_000_000  # transitions in the replay
    warmup: int = 1_000  # environment steps of uniform actions before learning (10,000 for tasks of 1,000 steps)
    updates_per_step: float = 1.0  # updates per environment step
    envs: int = 1  # environments stepped together


@system("sequence-rl", family="control", paper="2410.08979", acts=("box",))
class SRL(Learner):
    feed = ReplayFeed
    wants_previous = True
    actor: SequenceGaussian
    temperature: Temperature

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        self.chunk = config.length
        self.plain = Plain(spec)
        spec = self.plain.spec
        self.actor = SequenceGaussian(spec, config.hidden, config.length)
        self.critic = QEnsemble(spec, config.hidden, members=2)
        self.model = Dynamics(spec, config.model_hidden)
        self.target_critic = tracked(self.critic, config.target_rate)
        self.target_model = tracked(self.model, config.target_rate)
        target = -float(spec.action_size) if config.target_entropy is None else config.target_entropy
        self.temperature = Temperature(config.temperature, target)
        parts = {"critic": self.critic, "model": self.model, "actor": self.actor, "temperature": self.temperature}
        self.optimise(**{name: (part, Adam(config.rate)) for name, part in parts.items()})

    @property
    def span(self) -> int:
        return 1

    def perceive(self, obs: Tensor) -> Tensor:
        return self.plain(obs)

    def phase(self, updates: int) -> str:
        return "all" if (updates + 1) % self.config.delay == 0 else "critic"

    def losses(self, batch: Transitions, phase: Hashable = "all") -> Losses:
        obs, next_obs = self.perceive(batch.obs), self.perceive(batch.next_obs)
        losses = Losses(
            critic=regression(self.critic(obs, batch.action).members, self.target(batch)),
            model=self.model.loss(obs, batch.action, next_obs),
        )
        if phase == "all":
            assert batch.previous is not None
            action, logp = self.actor.unroll(obs, batch.previous, self.config.length)
            places = self.recalled(obs, action)
            value = self.critic.frozen(places.flatten(0, 1), action.flatten(0, 1)).reduce("min").view_as(logp)
            temperature = self.temperature().detach()
            losses.groups["actor"] = (temperature * logp - value).sum(1).mean()
            losses.groups["temperature"] = self.temperature.loss(logp.mean(1))
            losses.note(entropy=-logp.mean(), value=value.mean(), temperature_value=temperature)
        return losses

    @torch.no_grad()
    def recalled(self, obs: Tensor, action: Tensor) -> Tensor:
        """Where each of the actions [B, J, A] would be done, by the target model: [B, J, D]."""
        places = [obs]
        for j in range(action.shape[1] - 1):
            places.append(self.target_model(places[-1], action[:, j]))
        return torch.stack(places, 1)

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        next_obs = self.perceive(batch.next_obs)
        action, logp = self.actor.unroll(next_obs, batch.action, 1)
        soft = self.target_critic(next_obs, action[:, 0]).reduce("min") - self.temperature() * logp[:, 0]
        return bootstrap(batch.reward, batch.terminated, soft, self.config.discount)

    def after_step(self, phase: Hashable = "all") -> None:
        self.target_critic.follow()
        self.target_model.follow()
