"""RLPD: SAC on half data and half replay, with many critics and layer normalisation. A baseline of claims, no system.

Equations: see `run.prior`.
Source: Ball et al. 2023, Efficient Online Reinforcement Learning with Offline Data (2302.02948).
"""

from __future__ import annotations

from dataclasses import dataclass

from actrix.registry import system
from actrix.run.prior import PriorLearner
from actrix.run.settings import Prior


@dataclass(frozen=True)
class Config(Prior):
    pass


@system("rlpd", family="offline", paper="2302.02948", acts=("box",))
class RLPD(PriorLearner):
    pass
