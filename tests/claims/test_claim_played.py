"""Episodes that claims look at: every step of every episode, and nothing after its end."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from actrix.claims.claim import Training
from actrix.claims.measures import played
from actrix.envs.points import MultiGoal, goal_at
from actrix.run.trainer import RunOptions, Trainer
from actrix.systems.control import pmoe


@pytest.fixture(scope="module")
def run() -> Training:
    """A policy that goes to the right, fast or hardly at all, so that some episodes arrive."""
    options = RunOptions(env="actrix.envs.points:MultiGoal-v0", steps=10, threads=1, compile="no")
    trainer = Trainer.start("pmoe", options, pmoe.Config(hidden=(8,), components=2))
    actor = trainer.learner.actor
    with torch.no_grad():
        for p in actor.parameters():
            p.zero_()
        actor.net.layers[-1].bias.copy_(torch.tensor([3.0, 0.0, -6.0, -6.0, 0.05, 0.0, -6.0, -6.0]))  # type: ignore[union-attr]
        actor.router.layers[-1].bias.copy_(torch.tensor([-1.0, 1.0]))  # type: ignore[union-attr, operator]
    return Training(trainer, {})


@pytest.mark.parametrize("sampled", [False, True])
def test_every_step_of_every_episode_and_nothing_after_its_end(run: Training, sampled: bool) -> None:
    seen = played(run, 12, sampled)
    lengths = seen.within.sum(0)
    assert 0 < seen.terminated.sum() < 12, "some arrive, and some are cut off"
    for i in range(12):
        assert seen.within[: lengths[i], i].all()
        assert seen.terminated[i] or lengths[i] == MultiGoal.limit
        row = slice(0, lengths[i])
        np.testing.assert_array_equal(seen.obs[1 : lengths[i], i], seen.next_obs[: lengths[i] - 1, i])
        np.testing.assert_array_equal(seen.last[i], seen.next_obs[lengths[i] - 1, i])
        places = seen.next_obs[row, i].astype(np.float64) * MultiGoal.side
        far = np.linalg.norm(places[:, None] - MultiGoal.goals, axis=-1).min(1)
        assert seen.returns[i] == pytest.approx(10 * seen.terminated[i] - far.sum(), abs=1e-3)
    assert (goal_at(seen.last) == np.where(seen.terminated, 0, -1)).all()
    again = played(run, 12, sampled)
    np.testing.assert_array_equal(again.obs, seen.obs)
