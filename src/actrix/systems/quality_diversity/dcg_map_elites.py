"""DCG-MAP-Elites: gradients that make a policy fitter and leave its behaviour as it is.

A critic that only knows the return drags every policy towards the same optimum, and off its cell. Here critic and
actor are given a descriptor d' besides the state, and the reward counts only as far as the episode's own descriptor d
is like it. Climbing the critic at the parent's descriptor then keeps to the parent's behaviour; and the one actor
learns to reproduce the whole archive.

    crossed   x = x_i + iso N(0, I) + line (x_j - x_i) N(0, 1)
    climbing  x <- x + Adam on mean_s Q_1(s, pi_x(s) | d_x), `climb_steps` steps, d_x the parent's descriptor
    rollouts  the actor plays mu(s | d'), d' of random elites, for experience alone: most d differ from their d'.
              Offspring have d' = d; without the rollouts the likeness would be 1 everywhere
    likeness  S(d, d') = exp(-||d - d'|| / length)
    critic    sum_i mean 0.5 (Q_i(s, a | d') - y)^2,  y = S(d, d') r + discount (1 - terminated) min_i Q'_i(s', a' | d')
              a' = clip(mu'(s' | d') + clip(e, -c, c), -1, 1),  e ~ N(0, smoothing)
    actor     -mean Q_1(s, mu(s | d') | d'), at every `delay`-th update; Q' follows at every update, mu' when mu moves
    archive   cell(d(x)) <- x  if it is empty or f(x) > f(there)

Rewards must be positive (`reward_shift`), or to miss d' would pay. Descriptors are parts of their range [0, 1],
for the networks and in S alike. The later variant (DCRL-MAP-Elites) puts the actor itself into the archive: with
`--climbers 64 --injected 64 --rollouts 0`, policies made of the actor at a fixed d', which is folded into the biases
of its first layer.

The environment describes each episode by `info["descriptor"]` at its end. `actrix eval`, `export` and `collect` use
the fittest policy of the archive. Figures: qd_score, coverage, max_fitness, as for map-elites.

Source: Faldor et al. 2023, MAP-Elites with Descriptor-Conditioned Gradients and Archive Distillation into a Single
Policy (2303.03832); the variant: 2401.08632.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from actrix.credit import similarity
from actrix.data.batches import Transitions
from actrix.errors import ActrixError
from actrix.registry import system
from actrix.run.population import Brood, ClimbingLearner
from actrix.run.settings import Climbing
from actrix.spec import Spec


@dataclass(frozen=True)
class Config(Climbing):
    hidden: tuple[int, ...] = (128, 128)  # units of each hidden layer of a policy and of the actor
    offspring: int = 256  # policies evaluated for the archive in a round, one episode each
    climbers: int = 128  # of them by gradient steps
    injected: int = 0  # of them the actor at a random elite's descriptor (64 in DCRL); the rest are crossed
    rollouts: int = 64  # episodes of the actor in a round, for experience alone; they count in the budget
    iso: float = 0.005  # standard deviation of the crossing's step in every parameter
    line: float = 0.05  # standard deviation of its step along the parents' line, as part of their distance
    length: float = 0.1  # distance of descriptors at which a reward counts 1/e, as part of their range
    conditioned: bool = True  # False: d' = 0 for actor and critics, and rewards count in full (to see what d' does)
    reward_shift: float = 0.0  # added to every reward that the critic learns from, to make it positive
    rate: float = 3e-4  # Adam learning rate of critics and actor
    delay: int = 2  # updates of the critics per update of the actor
    envs: int = 64  # environments stepped together; policies are evaluated in blocks of so many


@system("dcg-map-elites", family="quality-diversity", paper="2303.03832", acts=("box",))
class DCGMAPElites(ClimbingLearner):
    def __init__(self, spec: Spec, config: Config) -> None:
        super().__init__(spec, config, context=spec.descriptor)
        if config.climbers + config.injected > config.offspring:
            raise ActrixError("--climbers and --injected must fit into --offspring", misuse=True)

    def breed(self) -> Brood:
        config = self.config
        free = torch.cat(
            (self.crossed(config.offspring - config.climbers - config.injected), self.climbers.flat.detach())
        )
        wanted = self.archive.descriptor[self.archive.sample(config.injected + config.rollouts)]
        actors = self.policies.specialised(self.actor, self.given(wanted))
        kept = torch.arange(len(free) + len(actors)) < config.offspring
        whatever = wanted.new_full((len(free), self.spec.descriptor), torch.nan)
        return Brood(torch.cat((free, actors)), torch.cat((whatever, wanted)), kept)

    def given(self, wanted: Tensor | None) -> Tensor:
        assert wanted is not None
        return wanted if self.config.conditioned else torch.zeros_like(wanted)

    def reward(self, batch: Transitions) -> Tensor:
        reward = batch.reward + self.config.reward_shift
        if not self.config.conditioned:
            return reward
        assert batch.context is not None
        assert batch.achieved is not None
        return similarity(batch.achieved, batch.context, self.config.length) * reward
