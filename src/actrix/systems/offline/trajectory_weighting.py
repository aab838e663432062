"""Trajectory weighting: learn from mixed data as if better players had made them.

Methods that learn from data stay near whoever made them. Where a few episodes are good and most are bad, that costs
more than it protects from. So good episodes are drawn more often (`data.weighting`), and nothing else changes: the
batches are those of an artificial data set of a better player, and any method learns from them.

    chance   of every row of episode i:  p ~ exp(g_i / alpha),  g_i = (G_i - min G) / (max G - min G)
             RW, --weigh return (as here):  G_i the undiscounted return of the episode
             AW, --weigh advantage:  G_i - V(s_0), V the linear regression of returns on the first observation, so
             that the luck of a start does not count
    learner  that of TD3+BC, whose equations see; its batches are drawn by p

`--weigh` and `--weigh-alpha` (0.1) do the same for every system that learns from data: in the paper for CQL, IQL and
TD3+BC. How much there is to gain grows with the positive-sided variance of the returns, mean max(G - mean G, 0)^2,
which `actrix data` prints. The chance is that of a row, so that a long episode is drawn more often, as in the paper's
code; losses are not corrected for it; once online only the part of a batch that comes from the data is weighted. The
mean and standard deviation by which observations are normalised are those of the data as recorded.
Source: Hong et al. 2023, Harnessing Mixed Offline Reinforcement Learning Datasets via Trajectory Weighting
(2306.13085), and the authors' code (Improbable-AI/harness-offline-rl).
"""

from __future__ import annotations

from dataclasses import dataclass

from actrix.registry import system
from actrix.run.held import HeldLearner
from actrix.run.settings import Held


@dataclass(frozen=True)
class Config(Held):
    pass


@system("trajectory-weighting", family="offline", paper="2306.13085", acts=("box",))
class TrajectoryWeighting(HeldLearner):
    weigh = "return"
