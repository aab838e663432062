"""The claim of STAC: what its critic is unsure of is chance, and a price on that keeps away from it, and values low."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actrix.claims.claim import Arm, Part, Training, trained
from actrix.claims.measures import played, value_bias
from actrix.envs.points import inside_disc

STEPS = 12_000
RISKY = {"env": "actrix.envs.points:RiskyPoint-v0", "steps": STEPS, "eval_episodes": 1, "envs": 4, "hidden": (64, 64),
         "batch": 128, "rate": 1e-3, "warmup": 1_000, "updates_per_step": 0.25}  # fmt: skip


def found(run: Training) -> Mapping[str, float]:
    """Share of steps inside the disc, mean return (both of 200 episodes), and how far values are off."""
    seen = played(run, 200)
    inside = inside_disc(seen.obs)[seen.within].mean()
    return {"inside": 100 * float(inside), "return": float(seen.returns.mean()), "bias": value_bias(run)}


def arm(name: str, role: Any, figure: str, system: str = "stac", variant: str = "", **settings: Any) -> Arm:
    return Arm(name, role, Part(trained(system, RISKY, settings, variant=variant), found, figure))
