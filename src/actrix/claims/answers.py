"""What the claims of language systems share: additions with worked steps."""

from __future__ import annotations

from typing import Any

from actrix.claims.claim import Training

# two digits plus two. After so short a warm start somewhat less than half of the answers are right
SUMS: dict[str, Any] = {
    "task": "arithmetic", "model": "micro", "prompts": 32, "group": 8, "warm_steps": 325, "eval_episodes": 200,
}  # fmt: skip


def right(run: Training) -> float:
    """Right answers of the final evaluation, per cent."""
    return 100 * float(run.evaluation["mean"])
