"""What the claims of quality-diversity share: two worlds at sizes that suit them, and figures of archives."""

from __future__ import annotations

from typing import Any

from actrix.claims.claim import Training

SIZES: dict[str, Any] = {"eval_episodes": 1, "cells": 256, "offspring": 64}
# on the plane with a trap a cell is hard to reach, and easy to be good in; for the crawler it is the other way round
TRAP = {**SIZES, "env": "actrix.envs.plane:Omni-v0", "steps": 160_000, "hidden": (32, 32), "horizon": 50, "envs": 80,
        "iso": 0.05, "line": 0.1}  # fmt: skip
CRAWL = {**SIZES, "env": "actrix.claims.worlds:Crawler-v0", "steps": 300_000, "hidden": (64, 64), "horizon": 60,
         "envs": 64, "iso": 0.02, "line": 0.2}  # fmt: skip


def last(run: Training) -> dict[str, float]:
    """qd_score, coverage and max_fitness at the end."""
    return {name: run.figures[-1][name] for name in ("qd_score", "coverage", "max_fitness")}
