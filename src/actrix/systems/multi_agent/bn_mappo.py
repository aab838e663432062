"""BN-MAPPO: a team that decides one after another, each knowing what its parents in a learned graph have chosen.

    graph      G_s, acyclic, drawn by a network from what all see: an order (Gumbel-Sinkhorn) and edges (`nets.dag`)
    policy     pi(a|s, G) = prod_n pi(a_n | o_n, n, {o_j, a_j: j parent of n}), sampled along the order
    actor      -mean over steps and agents  min(r_n A, clip(r_n, 1 - clip, 1 + clip) A) + entropy_weight H_n
               + density_weight (mean edge probability in s - density)^2,  where `anneal` is set
               r_n = pi(a_n | .., G) / pi_behaviour(a_n | .., G), G the graph in which a_n was chosen: its noise is
               stored, so that gradients reach the graph's networks through who hears whom
    critic     as in MAPPO; advantages too

What independent agents can explore only by luck, all changing at once, a joint policy can sample. But it takes knowing
each other's choices to execute. With `anneal`, the wanted density of edges falls from 1 to 0 over so many steps, after
which there are none: the policy that is left is decentralised. Without it, a run's policy needs all agents'
observations, for the graph and for parents' choices. Evaluation takes the most likely graph (no noise).
`graph` is for ablations: "random" (redrawn at every step, in evaluation too), "complete" (agent n hears all before it)
and "empty" (MAPPO with more parameters).

The penalty on density is ours: the paper says that it is controlled, its code does not show how. The code also draws
new edges in updates, which makes the ratio wrong; here the noise of edges is stored as that of the order is.
Source: Chen and Zhang 2023, Context-Aware Bayesian Network Actor-Critic Methods for Cooperative Multi-Agent
Reinforcement Learning (2306.01920).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor

from actrix.actors.team import BayesianTeam
from actrix.data.batches import Steps
from actrix.objectives import reduce
from actrix.registry import system
from actrix.run.learner import Losses
from actrix.run.settings import TeamRollouts
from actrix.run.teams import TeamLearner
from actrix.spec import Spec


@dataclass(frozen=True)
class Config(TeamRollouts):
    graph: str = "learned"  # learned, random, complete or empty
    temperature: float = 1.0  # of the graph's relaxations
    anneal: int = 0  # environment steps in which the density of edges falls from 1 to 0; 0 lets it be
    density_weight: float = 1.0  # weight of the density's squared error, where it is annealed


@system("bn-mappo", family="multi-agent", paper="2306.01920", acts=("multidiscrete", "multibinary"))
class BNMAPPO(TeamLearner):
    actor: BayesianTeam
    seen: Tensor

    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config, BayesianTeam(spec, config.hidden, config.graph, config.temperature))
        self.register_buffer("seen", torch.zeros((), dtype=torch.float64))  # environment steps, for annealing

    def density(self) -> Tensor:
        """The wanted fraction of edges now: []."""
        return (1 - self.seen / max(self.config.anneal, 1)).clamp(min=0).float()

    def prepare(self, steps: Steps) -> Steps:
        self.seen += steps.action_mask.sum()
        if self.config.anneal and self.seen >= self.config.anneal:
            self.actor.open.fill_(False)  # what is stored of this batch keeps the edges that it had
        return super().prepare(steps)

    def losses(self, batch: Steps, phase: Hashable = None) -> Losses:
        losses = super().losses(batch)
        density = self.actor.density(batch.obs)
        if self.config.anneal:
            surplus = reduce((density - self.density()).square(), batch.action_mask, "token", batch.total)
            losses.groups["actor"] = losses.groups["actor"] + self.config.density_weight * surplus
        return losses.note(density=reduce(density, batch.action_mask, "token", batch.total))
