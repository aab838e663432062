"""GRPO learns; what it shares with every language system is tested in test_language_contracts.py."""

from __future__ import annotations

import numpy as np
import pytest

from actrix.run.trainer import RunOptions, Trainer
from actrix.systems.language.grpo import Config


def trainer(**settings: object) -> Trainer:
    options = RunOptions(task="countdown", steps=40, threads=1, eval_every=1000, eval_episodes=2)
    chosen = {"model": "tiny", "prompts": 16, "group": 16, "warm_steps": 0, "warm_slips": 0.0, **settings}
    return Trainer.start("grpo", options, Config(**chosen))  # type: ignore[arg-type]


@pytest.mark.slow
def test_it_learns_what_its_verifier_rewards() -> None:
    """On 16 prompts that come again and again: a policy that did not move would stay where it began."""
    made = trainer(warm_steps=120, rate=3e-4)
    task = made.regime.task  # type: ignore[attr-defined]
    fixed, draw = task.prompts("train", 16, 7), task.prompts
    task.prompts = lambda split, n, seed: fixed if split == "train" else draw(split, n, seed)
    right = [value for report in made for _, value, _ in report.episodes]
    assert np.mean(right[-5:]) > np.mean(right[:5]) + 0.2, right
