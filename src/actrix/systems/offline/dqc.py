"""DQC: a critic judges long chunks of actions, a policy decides on short ones.

A critic of h actions in a row learns from h steps at once, without the bias of n-step returns, as it knows all that was
done. But a policy of h actions would have to be played without looking. So what the critic says is distilled into one
that sees the first h_a of them only, optimistically: it comes near to the best continuation that the data have.

All values are probabilities of success, discounted; networks give their logits, q = sigmoid(logit). a is the first h_a
actions (`chunk`) of A, which are h (`backup`); g is the goal, which is part of what critics see.

    critic   sum_i mean BCE(Q_i(s, g, A), y),  y = clip(r + discount^h (1 - terminated) V(s_h, g), 0, 1)
             r = discount^k where the goal is reached after k < h steps: then nothing follows, and terminated is true
    partial  sum_i mean w BCE(P_i(s, g, a), Q_i(s, g, A)),  w = distilled if Q_i >= P_i else 1 - distilled
    value    mean w |logit V(s, g) - logit p|,  w = upper if p >= V else 1 - upper,
             p = mean_i or min_i of P'_i(s, g, a)
    actor    flow matching of a, which sees no goal: it only knows what is done
    acting   of `samples` chunks of the actor the one for which the mean_i or min_i of P_i's logits is greatest
    P' follows P by target_rate after every update

The second line is an expectile, the third a quantile; `distil_form` and `value_form` choose either. With `distil` off P
learns y itself, and there is no Q: with chunk = backup = h that is Q-chunking (QC), with chunk 1 n-step returns (NS),
with chunk = backup = 1 one-step backups (OS), all with the same rest.

Goals are drawn in hindsight (`data.goals`) where observations have the parts `achieved_goal` and `desired_goal`. Where
they have none, what is learned is the probability of a reward of 1 at an episode's end (an addition; other rewards are
clipped to [0, 1]). A chunk that the data cut off has weight 0. It learns from data only.
Source: Li et al. 2025, Decoupled Q-Chunking (2512.10926), and the authors' code (ColinQiyangLi/dqc).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from actrix.actors.candidates import select
from actrix.actors.generative import Generative
from actrix.critics.values import QEnsemble, StateValue, Value
from actrix.data.batches import Transitions
from actrix.data.datasets import Dataset
from actrix.data.goals import Hindsight, goal_parts
from actrix.data.weighting import Rows
from actrix.errors import ActrixError
from actrix.nets.processes import Flow
from actrix.nets.targets import tracked
from actrix.objectives import success
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.learner import Learner, Losses
from actrix.run.offline import DatasetFeed
from actrix.run.options import choice
from actrix.spec import Spec


@dataclass(frozen=True)
class Config:
    chunk: int = 1  # environment steps of a decision (h_a; 1 or 5 in the paper)
    backup: int = 25  # environment steps that the critic judges at once (h)
    distil: bool = True  # False learns the partial critic from the target itself
    distilled: float = 0.5  # level of its expectile: 0.5 is the mean, 1 the best continuation in the data (0.8)
    upper: float = 0.9  # level of the value's quantile over the data's actions (0.5 to 0.93)
    distil_form: str = "expectile"  # or quantile
    value_form: str = "quantile"  # or expectile
    ensemble: str = "mean"  # of partial critics: mean or min
    samples: int = 32  # chunks made by the actor, of which the best is played; 1 only imitates
    current: float = 0.2  # share of goals that are the state itself
    future: float = 0.5  # share that are a later state of the episode; the rest is any state
    denoising_steps: int = 10  # from noise to an action
    hidden: tuple[int, ...] = (512, 512, 512)  # units of each hidden layer of all networks (1,024 four times)
    rate: float = 3e-4  # Adam learning rate of all groups
    discount: float = 0.999  # per environment step
    target_rate: float = 0.005  # Polyak rate of the target partial critics, per update
    batch: int = 256  # chunks per update (4,096 in the paper)


@system("dqc", family="offline", paper="2512.10926", acts=("box",))
class DQC(Learner):
    feed = DatasetFeed
    ranks = True
    actor: Generative

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        c, self.chunk, adam = config, config.chunk, Adam(config.rate)
        if not 1 <= c.chunk <= c.backup:
            raise ActrixError(f"--chunk must be at least 1 and at most --backup {c.backup}, not {c.chunk}", misuse=True)
        choice(c, "ensemble", "mean", "min")
        choice(c, "distil_form", "expectile", "quantile")
        choice(c, "value_form", "expectile", "quantile")
        goal = goal_parts(spec)
        aimless = spec if goal is None else spec.looking_at(tuple(p for p in spec.visible if p != goal[1]))
        self.actor = Generative(
            aimless, c.hidden, Flow(), c.denoising_steps, layer_norm=True, chunk=c.chunk, samples=c.samples
        )
        self.actor.planner = self.made
        self.partial = QEnsemble(spec.chunked(c.chunk), c.hidden, 2, "gelu", layer_norm=True)
        self.value = StateValue(spec, c.hidden, "gelu", orthogonal=False, layer_norm=True)
        self.target_partial = tracked(self.partial, c.target_rate)
        groups = {"value": (self.value, adam), "partial": (self.partial, adam), "actor": (self.actor, adam)}
        if c.distil:
            self.critic = QEnsemble(spec.chunked(c.backup), c.hidden, 2, "gelu", layer_norm=True)
            groups["critic"] = (self.critic, adam)
        self.optimise(**groups)

    @property
    def span(self) -> int:
        return self.config.backup

    def sampled(self, data: Dataset) -> Rows:
        c = self.config
        if goal_parts(self.spec) is None:
            return super().sampled(data)
        return Hindsight(data, self.spec, c.backup, c.discount, c.current, c.future)

    def losses(self, batch: Transitions, phase: Hashable = None) -> Losses:
        c, obs = self.config, batch.obs
        known = torch.ones_like(batch.reward) if batch.valid is None else batch.valid.to(batch.reward.dtype)
        part = batch.action[:, : c.chunk * self.spec.action_size]
        best = told = self.backed_up(batch)
        losses = Losses()
        if c.distil:
            judged = self.critic(obs, batch.action).members
            losses.groups["critic"] = success(judged, told, weight=known)
            best = judged.sigmoid()
        with torch.no_grad():
            worth = Value(self.target_partial(obs, part).members.sigmoid()).reduce(c.ensemble)
        partial, value = self.partial(obs, part).members, self.value(obs)
        losses.groups["partial"] = success(partial, best, c.distilled, known, c.distil_form)
        losses.groups["value"] = success(value, worth, c.upper, known, c.value_form)
        losses.groups["actor"] = self.actor.imitate(obs, part, known)
        return losses.note(worth=worth.mean(), target=told.mean(), state_value=value.sigmoid().mean())

    @torch.no_grad()
    def backed_up(self, batch: Transitions) -> Tensor:
        """The probability of success [B] that a chunk is to be given."""
        following = self.config.discount**self.config.backup * self.value(batch.next_obs).sigmoid()
        return (batch.reward + torch.where(batch.terminated, 0.0, following)).clamp(0.0, 1.0)

    def after_step(self, phase: Hashable = None) -> None:
        self.target_partial.follow()

    def made(self, obs: Tensor, mode: str) -> Tensor:
        """The chunk to play: [B, D] -> [B, A]."""
        found = self.actor.candidates(obs, self.config.samples, mode)
        if self.config.samples == 1:
            return found[:, 0]
        return select(found, self.partial(obs, found).reduce(self.config.ensemble))
