"""PGA-MAP-Elites: MAP-Elites in which half of the offspring climb the critic of a TD3 agent.

One critic learns from the steps of all policies ever evaluated, with a greedy actor of its own. Every round, some
parents from the archive take gradient steps on it, which large networks need more than random variation; the greedy
actor is offered to the archive as well.

    crossed   x = x_i + iso N(0, I) + line (x_j - x_i) N(0, 1)
    climbing  x <- x + Adam on mean_s Q_1(s, pi_x(s)), `climb_steps` steps, critic fixed, a fresh Adam for each parent
    critic    sum_i mean 0.5 (Q_i(s, a) - y)^2,  y = r + discount (1 - terminated) min_i Q'_i(s', a')
              a' = clip(mu'(s') + clip(e, -c, c), -1, 1),  e ~ N(0, smoothing)
    actor     -mean Q_1(s, mu(s)), at every `delay`-th update; Q' follows at every update, mu' when mu moves
    archive   cell(d(x)) <- x  if it is empty or f(x) > f(there)

The environment describes each episode by `info["descriptor"]` at its end. `actrix eval`, `export` and `collect` use
the fittest policy of the archive. Figures: qd_score, coverage, max_fitness, as for map-elites.

Source: Nilsson & Cully 2021, Policy Gradient Assisted MAP-Elites (GECCO 2021, doi 10.1145/3449639.3459304), with the
settings it has as a baseline in 2303.03832.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from actrix.actors.deterministic import Deterministic, smoothed
from actrix.actors.population import Climbers, ascent
from actrix.credit import bootstrap
from actrix.critics.values import QEnsemble
from actrix.data.batches import Transitions
from actrix.errors import ActrixError
from actrix.nets.targets import tracked
from actrix.objectives import regression
from actrix.optim import Adam
from actrix.registry import system
from actrix.run.learner import Losses
from actrix.run.population import Brood, QualityDiversity
from actrix.run.settings import Climbing
from actrix.spec import Spec


@dataclass(frozen=True)
class Config(Climbing):
    climbers: int = 127  # of them by gradient steps; one more is the greedy actor, the rest are crossed
    iso: float = 0.005  # standard deviation of the crossing's step in every parameter
    line: float = 0.05  # standard deviation of its step along the parents' line, as part of their distance


@system("pga-map-elites", family="quality-diversity", paper="10.1145/3449639.3459304", acts=("box",))
class PGAMAPElites(QualityDiversity):
    actor: Deterministic

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        if config.climbers >= config.offspring:
            raise ActrixError("--climbers and the greedy actor must fit into --offspring", misuse=True)
        seen = self.plain.spec
        self.actor = Deterministic(seen, config.hidden)
        self.critic = QEnsemble(seen, config.critic_hidden, members=2)
        self.target_actor = tracked(self.actor, config.target_rate)
        self.target_critic = tracked(self.critic, config.target_rate)
        self.climbers = Climbers(self.policies, config.climbers, spec.descriptor)
        adam = Adam(config.rate)
        self.optimise(
            critic=(self.critic, adam), actor=(self.actor, adam), climbers=(self.climbers, Adam(config.climb_rate))
        )

    def select(self) -> None:
        self.climbers.start(self.archive)
        self.optimiser.reset("climbers")

    def breed(self) -> Brood:
        crossed = self.crossed(self.config.offspring - self.config.climbers - 1)
        return Brood(torch.cat((crossed, self.climbers.flat.detach(), self.policies.specialised(self.actor))))

    def losses(self, batch: Transitions, phase: Hashable = "both") -> Losses:
        obs = self.perceive(batch.obs)
        if phase == "climb":
            return Losses(climbers=ascent(self.policies, self.climbers.flat, self.critic, obs))
        taken = self.critic(obs, batch.action).members
        losses = Losses(critic=regression(taken, self.target(batch)))
        if phase == "both":
            losses.groups["actor"] = -self.critic.frozen(obs, self.actor(obs), first=1).members[0].mean()
        return losses.note(value=taken.mean())

    @torch.no_grad()
    def target(self, batch: Transitions) -> Tensor:
        config, next_obs = self.config, self.perceive(batch.next_obs)
        action = smoothed(self.target_actor(next_obs), config.smoothing, config.smoothing_clip)
        value = self.target_critic(next_obs, action).reduce("min")
        return bootstrap(batch.reward, batch.terminated, value, config.discount)

    def after_step(self, phase: Hashable = "both") -> None:
        if phase != "climb":
            self.target_critic.follow()
        if phase == "both":
            self.target_actor.follow()
