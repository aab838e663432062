"""MAPPO: PPO for teams, with actors that see their own part and one critic that sees all of it.

    policy     pi(a|s) = prod_n pi(a_n | o_n, n), parameters shared;  r_n = pi(a_n|o_n) / pi_behaviour(a_n|o_n)
    advantage  A = generalised advantage estimation of the team's reward under V(s), the same for every agent
    actor      -mean over steps and agents  min(r_n A, clip(r_n, 1 - clip, 1 + clip) A) + entropy_weight H(pi(.|o_n))
    critic     mean over steps  max(huber(V(s) - y), huber(V_clipped(s) - y)),  y = A + V_behaviour(s), in units of the
               targets' running standard deviation (PopArt)

The critic sees what every agent sees and, where the environment has one, its state. An agent that is gone has one
legal action: its log-probability is 0, and so is its gradient. As in the authors' code: two optimisers, orthogonal
initialisation, Adam with epsilon 1e-5, advantages standardised; observations are normalised by running statistics
where theirs are by a layer. Where an environment does not say whose observation is whose, every choice of its action
is an agent that sees all. Time limits bootstrap. There is no recurrent form here.
Source: Yu et al. 2022, The Surprising Effectiveness of PPO in Cooperative Multi-Agent Games (2103.01955), section 3
and appendix A.
"""

from __future__ import annotations

from dataclasses import dataclass

from actrix.actors.team import IndependentTeam
from actrix.registry import system
from actrix.run.settings import TeamRollouts
from actrix.run.teams import TeamLearner
from actrix.spec import Spec


@dataclass(frozen=True)
class Config(TeamRollouts):
    pass


@system("mappo", family="multi-agent", paper="2103.01955", acts=("multidiscrete", "multibinary"))
class MAPPO(TeamLearner):
    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config, IndependentTeam(spec, config.hidden))
