"""RLIF: when a supervisor takes over is the whole reward, and reinforcement learning avoids it.

Interactive imitation (DAgger) learns what the supervisor does, and so is no better than they are. Here the supervisor
need not act well, only know when the policy does not: the step that led to a takeover costs 1, every other step is
free, and RLPD (SAC that begins with data) minimises what is to be paid.

    reward  -1 for the step (s, a) after which the supervisor takes over, 0 for all others, theirs included
    takes over  at s with chance `attention` if Q_ref(s, a) < Q_ref(s, a_ref) - margin, else with chance `slip`,
            for `hold` steps; both are stored with what was done
    target  y = r + discount (1 - terminated) min_{subset of E} Q'_i(s', a'),  a' ~ pi(.|s'), without entropy
    critic  sum_i mean 0.5 (Q_i(s, a) - y)^2, with layer normalisation; Q' follows Q by target_rate
    actor   mean temperature log pi(a|s) - mean_i Q_i(s, a),  a ~ pi(.|s); a temperature that learns

The reward of the task is never used: those of the data are 0, and those of the environment are only logged. First
`steps` updates from --data (which make little of rewards that are all 0), then --online-steps under supervision.
The supervisor is a run (--supervisor RUN: its policy takes over, its critic is Q_ref, with a margin in place of the
paper's factor, whose meaning turns with the sign of Q), or the environment's own (`supervise`), which judges as it
likes and takes no margin. Scores are those of the policy alone; returns logged in training are those of both.
Source: Luo et al. 2023, RLIF: Interactive Imitation Learning as Reinforcement Learning (2311.12996), and its code.
There the supervisor's steps but the last cost 1 too (--blamed), and the data count twice, as here: as data, and as
the beginning of the replay.
"""

from __future__ import annotations

from dataclasses import dataclass

from actrix.data.datasets import Dataset
from actrix.data.mixture import Unpaid
from actrix.data.weighting import Rows
from actrix.registry import system
from actrix.run.prior import PriorLearner
from actrix.run.settings import Prior
from actrix.run.supervised import SupervisedFeed


@dataclass(frozen=True)
class Config(Prior):
    supervisor: str = ""  # folder of a run that supervises; "" is the environment's own supervisor
    margin: float = 0.0  # a run objects to what is worse than its own action by more than so much, in units of its Q
    attention: float = 0.95  # chance of a takeover where the supervisor objects
    slip: float = 0.05  # chance of a takeover where they do not
    hold: int = 4  # environment steps of a takeover
    blamed: bool = False  # the supervisor's steps but the last cost 1 too
    hidden: tuple[int, ...] = (256, 256, 256)  # units of each hidden layer, actor and critics


@system("rlif", family="imitation", paper="2311.12996", acts=("box",))
class RLIF(PriorLearner):
    feed = SupervisedFeed
    soft = False

    def sampled(self, data: Dataset) -> Rows:
        return Unpaid(data)
