"""Runs that begin alike make their warm start once, and end with the same bits as if each had made its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from actrix import registry
from actrix.run.language import SHARED
from actrix.run.trainer import RunOptions, Trainer

WARM: dict[str, Any] = {"model": "micro", "warm_steps": 4, "warm_batch": 4, "prompts": 4, "group": 2}


def finished(slug: str, task: str, seed: int = 0, **settings: Any) -> tuple[dict[str, torch.Tensor], int]:
    """A run's final state, and how many updates it made itself."""
    entry = registry.load(slug)
    options = RunOptions(task=task, steps=1, seed=seed, threads=1, compile="no", eval_episodes=2)
    trainer = Trainer.start(slug, options, entry.config(**{**WARM, **settings}))
    made = sum(1 for _ in trainer)
    trainer.close()
    return trainer.learner.state(), made


@pytest.mark.parametrize("slug", ["ppo-token", "critique-rl"])
def test_shared_warm_starts_change_no_bit(slug: str) -> None:
    task = "arith-trace" if slug == "critique-rl" else "countdown"
    extra: dict[str, Any] = {"pool": 8, "stage_one": 0} if slug == "critique-rl" else {}
    courses = 2 if slug == "critique-rl" else 1
    alone, made = finished(slug, task, **extra)
    with SHARED.sharing():
        finished(slug, task, rate=1e-5, **extra)
        shared, fewer = finished(slug, task, **extra)
        if slug == "ppo-token":
            finished("grpo", task)
            assert finished("grpo", task)[1] == fewer, "other systems begin alike, too"
        other, all_of_them = finished(slug, task, seed=1, **extra)
    assert fewer == made - 3 * courses
    assert all_of_them == made
    for name, value in alone.items():
        assert torch.equal(shared[name], value), name
    assert not all(torch.equal(other[name], value) for name, value in alone.items())
    assert finished(slug, task, **extra)[1] == made, "nothing is shared unless it is asked for"
