"""QGF: a flow imitates, a critic judges, and the two meet only when an action is made.

The actor never learns from the critic. While it makes an action out of noise, the gradient of the critic is added to
its velocity at every step; it is taken at the action that the actor would end with if it went straight on from here,
as critics know nothing of noisy actions. Actions are chunks of H steps, played to their end.

    actor    mean |v(s, a_t, t) - (a - e)|^2,  a_t = t a + (1 - t) e,  e ~ N(0, 1), t ~ U{0, 1/T, ..., 1}
    critic   sum_i mean 0.5 (Q_i(s, a) - y)^2,  y = sum_k<H discount^k r_k + discount^H (1 - terminated) V(s_H)
    value    mean |expectile - 1(u < 0)| u^2,  u = min_i Q'_i(s, a) - V(s)
    acting   a_(t + 1/T) = a_t + (v(s, a_t, t) + guidance g) / T,  g = d min_i Q'_i(s, b) / d b
             at b = clip(a_t + (1 - t) v(s, a_t, t), -1, 1), taken as a constant
    Q' follows Q by target_rate after every update

`guide` chooses among what the paper compares, all on the same trained networks: none; noisy, g = d Q' / d a_t at a_t
itself (QFQL); jacobian, through b; bptt, through all the steps that are left; ascent, steps on Q' from the finished
action. With samples > 1 the best of so many is taken, by min_i Q'_i. (Robust-Q, with a critic of noisy actions that has
to be trained, is not here.) The best `guidance` depends on the scale of the rewards; `configure` changes it, and the
guide, in a trained learner.

A chunk that the data cut off before its end has weight 0; one in which the episode terminates is whole, as nothing
follows (in the paper's code it has weight 0 as well). An exported file guides as the policy does, from fixed noise,
and gives the whole chunk. The paper learns from data alone; going on in an environment, where the guided policy acts
and all three go on learning from chunks of what it did, is an addition.
Source: Test-Time Gradient Guidance of Flow Policies in Reinforcement Learning (2606.11087).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from actrix.actors.candidates import select
from actrix.actors.generative import Generative, ObsGuide
from actrix.credit import bootstrap
from actrix.critics.values import QEnsemble, StateValue
from actrix.data.batches import Transitions
from actrix.errors import ActrixError, unknown
from actrix.nets.processes import Flow
from actrix.nets.targets import tracked
from actrix.objectives import expectile, regression
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.learner import Learner, Losses
from actrix.run.offline import DatasetFeed
from actrix.run.settings import DataFirst
from actrix.spec import Spec

ACTING = ("guide", "guidance", "samples", "ascent_steps", "ascent_size")
GUIDES = ("clean", "noisy", "jacobian", "bptt", "ascent", "none")


@dataclass(frozen=True)
class Config(DataFirst):
    guide: str = "clean"  # where the critic is asked: clean (the method), noisy, jacobian, bptt, ascent, none
    guidance: float = 1.0  # weight of its gradient, per unit of value
    samples: int = 1  # actions made, of which the best is taken
    ascent_steps: int = 5  # of guide ascent
    ascent_size: float = 0.01  # of such a step, per unit of value
    chunk: int = 5  # environment steps of a decision
    denoising_steps: int = 10  # from noise to an action
    expectile: float = 0.9  # 0.5 is the mean, 1 the maximum over the data's actions
    hidden: tuple[int, ...] = (512, 512, 512, 512)  # units of each hidden layer, actor, critics and value
    rate: float = 3e-4  # Adam learning rate of all three groups
    discount: float = 0.99  # per environment step
    target_rate: float = 0.005  # Polyak rate of the target critics, per update
    batch: int = 256  # chunks per update, one of which begins in every step


@system("qgf", family="offline", paper="2606.11087", acts=("box",))
class QGF(Learner):
    feed = DatasetFeed
    ranks = True
    actor: Generative

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        self.configure()
        self.chunk = config.chunk
        flow, whole = Flow(grid=config.denoising_steps), spec.chunked(config.chunk)
        self.actor = Generative(
            spec, config.hidden, flow, config.denoising_steps, layer_norm=True, chunk=config.chunk,
            samples=config.samples,
        )  # fmt: skip
        self.actor.planner = self.made
        self.critic = QEnsemble(whole, config.hidden, 2, "gelu", layer_norm=True)
        self.value = StateValue(spec, config.hidden, "gelu", orthogonal=False, layer_norm=True)
        self.target_critic = tracked(self.critic, config.target_rate)
        adam = Adam(config.rate)
        self.optimise(value=(self.value, adam), critic=(self.critic, adam), actor=(self.actor, adam))

    def losses(self, batch: Transitions, phase: Hashable = None) -> Losses:
        known = torch.ones_like(batch.reward) if batch.valid is None else batch.valid.to(batch.reward.dtype)
        with torch.no_grad():
            taken = self.worth(batch.obs, batch.action)
        value = self.value(batch.obs)
        return Losses(
            value=expectile(value, taken, self.config.expectile, known),
            critic=regression(self.critic(batch.obs, batch.action).members, self.target(batch), known),
            actor=self.actor.imitate(batch.obs, batch.action, known),
        ).note(advantage=(taken - value).mean(), state_value=value.mean())

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        discount = self.config.discount**self.config.chunk
        return bootstrap(batch.reward, batch.terminated, self.value(batch.next_obs), discount)

    def after_step(self, phase: Hashable = None) -> None:
        self.target_critic.follow()

    def configure(self, **settings: Any) -> None:
        """Act otherwise from now on, with the same networks: guide, guidance, samples, ascent_steps, ascent_size."""
        for name in settings:
            if name not in ACTING:
                raise unknown("setting of acting", name, ACTING)
        self.config = replace(self.config, **settings)
        if self.config.guide not in GUIDES:
            raise ActrixError(f"--guide is {', '.join(GUIDES)}, not {self.config.guide!r}", misuse=True)

    # -- acting -------------------------------------------------------------------------------------------------

    def made(self, obs: Tensor, mode: str) -> Tensor:
        """The chunk to play: [B, D] -> [B, A]."""
        config = self.config
        guides: dict[str, ObsGuide] = {
            "clean": self.at_clean, "noisy": self.at_noisy, "jacobian": self.through_one, "bptt": self.through_all,
        }  # fmt: skip
        found = self.actor.candidates(obs, config.samples, mode, guides.get(config.guide))
        rows = obs[:, None].expand(-1, config.samples, -1).flatten(0, 1)
        if config.guide == "ascent":
            found = self.ascended(rows, found.flatten(0, 1)).view_as(found)
        if config.samples == 1:
            return found[:, 0]
        return select(found, self.worth(rows, found.flatten(0, 1)).view(found.shape[:2]))

    def worth(self, obs: Tensor, action: Tensor) -> Tensor:
        """min_i Q'_i: [B]."""
        found: Tensor = self.target_critic(obs, action).reduce("min")
        return found

    def slope(self, obs: Tensor, at: Tensor, reached: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
        """d worth(obs, reached(x)) / d x at x = `at`: [B, A]."""
        with torch.enable_grad():
            x = at.detach().requires_grad_()
            return torch.autograd.grad(self.worth(obs, reached(x)).sum(), x)[0]

    def at_clean(self, obs: Tensor, noisy: Tensor, clean: Tensor, time: float) -> Tensor:
        return self.config.guidance * self.slope(obs, clean.clamp(-1.0, 1.0))

    def at_noisy(self, obs: Tensor, noisy: Tensor, clean: Tensor, time: float) -> Tensor:
        return self.config.guidance * self.slope(obs, noisy)

    def through_one(self, obs: Tensor, noisy: Tensor, clean: Tensor, time: float) -> Tensor:
        def reached(x: Tensor) -> Tensor:
            return (x + (1 - time) * self.actor.field(obs, x, torch.full_like(x[:, 0], time))).clamp(-1.0, 1.0)

        return self.config.guidance * self.slope(obs, noisy, reached)

    def through_all(self, obs: Tensor, noisy: Tensor, clean: Tensor, time: float) -> Tensor:
        process = self.actor.process
        left = [t for t in process.times(self.actor.steps) if t >= time]

        def reached(x: Tensor) -> Tensor:
            return process.solve(lambda a, t: self.actor.field(obs, a, t), x, left)[-1].clamp(-1.0, 1.0)

        return self.config.guidance * self.slope(obs, noisy, reached)

    def ascended(self, obs: Tensor, action: Tensor) -> Tensor:
        """Gradient ascent on worth, within the box."""
        for _ in range(self.config.ascent_steps):
            action = (action + self.config.ascent_size * self.slope(obs, action)).clamp(-1.0, 1.0)
        return action
