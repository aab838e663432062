"""GRPO: the ratio is 1 before the first update, padding and splitting change nothing, and it learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from actrix.data.batches import Steps
from actrix.run.trainer import RunOptions, Trainer
from actrix.systems.language.grpo import GRPO, Config


def trainer(**settings: object) -> Trainer:
    options = RunOptions(task="countdown", steps=40, threads=1, eval_every=1000, eval_episodes=2)
    chosen = {"model": "tiny", "prompts": 16, "group": 16, "warm_steps": 0, "warm_slips": 0.0, **settings}
    return Trainer.start("grpo", options, Config(**chosen))  # type: ignore[arg-type]


def credited(made: Trainer) -> Steps:
    """One sampled round with credit; random scores, since an untrained model is always wrong."""
    assert isinstance(made.learner, GRPO)
    steps, _ = made.feed.collect(made.learner)  # type: ignore[attr-defined]
    score = torch.rand(len(steps), generator=torch.Generator().manual_seed(0))
    reward = torch.zeros_like(steps.reward)
    reward[:, -1] = score
    steps = made.learner.prepare(replace(steps, reward=reward))
    return replace(steps, total=steps.action_mask.sum())


def gradient(made: Trainer, steps: Steps) -> Tensor:
    found = made.learner.optimiser.gradients(made.learner.losses(steps).groups)
    return torch.cat([g.flatten() for g in found["actor"]])


def test_the_ratio_is_one_before_the_first_update_and_the_stop_token_is_trained() -> None:
    made = trainer()
    steps = credited(made)
    with torch.no_grad():
        logp = made.learner.log_prob(steps)  # type: ignore[operator]
    gap = ((logp - steps.logp_behaviour) * steps.action_mask).abs()
    assert float(gap.max()) < 1e-5
    assert steps.length is not None
    rows = torch.arange(len(steps))
    assert bool(steps.action_mask[rows, steps.length - 1].all()), "the last token of a row, the stop token, counts"


def test_padding_changes_no_gradient() -> None:
    made = trainer()
    steps = credited(made)

    def longer(x: Tensor) -> Tensor:
        return F.pad(x, (0, 5)) if x.ndim == 2 else x

    torch.testing.assert_close(gradient(made, steps), gradient(made, steps.map(longer)), rtol=1e-4, atol=1e-6)


def test_splitting_a_batch_between_groups_changes_no_gradient() -> None:
    made = trainer()
    steps = credited(made)
    parts = [replace(replace(steps, total=None)[i : i + 64], total=steps.total) for i in range(0, 256, 64)]
    torch.testing.assert_close(
        gradient(made, steps), torch.stack([gradient(made, p) for p in parts]).sum(0), rtol=1e-4, atol=1e-6
    )


@pytest.mark.slow
def test_it_learns_what_its_verifier_rewards() -> None:
    """On 16 prompts that come again and again: a policy that did not move would stay where it began."""
    made = trainer(warm_steps=120, rate=3e-4)
    task = made.regime.task  # type: ignore[attr-defined]
    fixed, draw = task.prompts("train", 16, 7), task.prompts
    task.prompts = lambda split, n, seed: fixed if split == "train" else draw(split, n, seed)
    right = [value for report in made for _, value, _ in report.episodes]
    assert np.mean(right[-5:]) > np.mean(right[:5]) + 0.2, right
