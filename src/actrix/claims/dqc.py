"""The claim of DQC: a critic that judges long chunks, and a policy that decides on short ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from actrix.claims.claim import Arm, Check, Claim, Training
from actrix.claims.recordings import on

ROOMS, SLIPPERY = "actrix.envs.plane:PointRooms-v0", "actrix.envs.plane:PointRoomsSlippery-v0"
SMALL = {
    "env": ROOMS, "steps": 2_500, "hidden": (64, 64), "batch": 128, "rate": 1e-3, "discount": 0.98, "samples": 16,
    "denoising_steps": 5, "target_rate": 0.02, "upper": 0.7, "distilled": 0.8, "eval_episodes": 100,
}  # fmt: skip
DQC = {"backup": 16, "chunk": 1}
QC = {"backup": 16, "chunk": 16, "distil": False, "distilled": 0.5}
NS = {"backup": 16, "chunk": 1, "distil": False, "distilled": 0.5}
OS = {"backup": 1, "chunk": 1, "distil": False, "distilled": 0.5}
EVEN = {"distilled": 0.5}
BLIND = {"samples": 1}
