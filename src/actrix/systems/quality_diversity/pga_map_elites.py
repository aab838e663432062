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

from dataclasses import dataclass

import torch

from actrix.errors import ActrixError
from actrix.registry import system
from actrix.run.population import Brood, ClimbingLearner
from actrix.run.settings import Climbing
from actrix.spec import Spec


@dataclass(frozen=True)
class Config(Climbing):
    climbers: int = 127  # of them by gradient steps; one more is the greedy actor, the rest are crossed
    iso: float = 0.005  # standard deviation of the crossing's step in every parameter
    line: float = 0.05  # standard deviation of its step along the parents' line, as part of their distance


@system("pga-map-elites", family="quality-diversity", paper="10.1145/3449639.3459304", acts=("box",))
class PGAMAPElites(ClimbingLearner):
    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config)
        if config.climbers >= config.offspring:
            raise ActrixError("--climbers and the greedy actor must fit into --offspring", misuse=True)

    def breed(self) -> Brood:
        crossed = self.crossed(self.config.offspring - self.config.climbers - 1)
        return Brood(torch.cat((crossed, self.climbers.flat.detach(), self.policies.specialised(self.actor))))
