"""The variants of learners that claims compare with: each by what it should do differently."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from actrix import credit
from actrix.claims.variants.answers import Raft
from actrix.claims.variants.archives import Record
from actrix.claims.variants.teams import OwnValue
from actrix.data.batches import Steps
from actrix.envs.many import make_worlds
from actrix.run.trainer import RunOptions, Trainer
from actrix.systems.language import rloo


def rollout(obs: torch.Tensor, after: torch.Tensor, reward: torch.Tensor) -> Steps:
    """B episodes that are cut after their last step."""
    ends = torch.zeros(reward.shape, dtype=torch.bool)
    ends[:, -1] = True
    return Steps(
        obs=obs, action=torch.zeros(*reward.shape, 4), logp_behaviour=torch.zeros(*reward.shape, 4), reward=reward,
        terminated=torch.zeros_like(ends), truncated=ends, action_mask=torch.ones_like(ends), next_obs=after,
    )  # fmt: skip


def test_values_of_ones_own_see_nobody_else_and_are_credited_by_themselves() -> None:
    spec = make_worlds("pettingzoo:actrix.envs.cooperative.SmallAloha", 1).spec
    critic = OwnValue(spec, (8,), 0.05)
    torch.manual_seed(0)
    obs, after = torch.rand(2, 3, 5, spec.obs_size)
    value = critic(obs)
    assert value.shape == (3, 5, 4)
    mine = next(p for p in spec.visible if p.agent == 1)
    other = obs.clone()
    other[..., mine.start : mine.stop] += 1.0
    moved = (critic(other) != value).flatten(0, 1).any(0)
    assert moved.tolist() == [False, True, False, False]
    reward = torch.rand(3, 5)
    found = critic.credit(rollout(obs, after, reward), 0.9, 0.8)
    assert found.advantage is not None
    for n in range(4):
        steps = rollout(obs, after, reward)
        advantage, _ = credit.gae(
            reward, value[..., n], critic(after)[..., n], steps.terminated, steps.truncated, 0.9, 0.8
        )
        torch.testing.assert_close(found.advantage[..., n], advantage)


def test_raft_keeps_the_first_best_of_each_group() -> None:
    options = RunOptions(task="sort", steps=1, threads=1)
    trainer = Trainer.start("rloo", options, rloo.Config(model="micro"), variant=Raft)
    score = torch.tensor([0.1, 0.9, 0.9, 0.0, 0.0, 0.3, 0.2, 0.3])
    steps = rollout(torch.zeros(8, 1, 1), torch.zeros(8, 1, 1), score[:, None])
    steps = Steps(**{**vars(steps), "group": torch.tensor([0, 0, 0, 2, 2, 5, 5, 5])})
    learner: Any = trainer.learner
    assert learner.prepare(steps).advantage[:, 0].tolist() == [0, 1, 0, 1, 0, 1, 0, 0]
    trainer.close()


def test_the_pool_is_the_fittest_whatever_their_cell() -> None:
    draw = np.random.default_rng(0)
    record, seen = Record(5, 1, 2), []
    for _ in range(4):
        fitness = torch.from_numpy(draw.normal(size=6)).float()
        record.add(fitness[:, None], fitness, torch.zeros(6, 2))  # all in one cell
        seen += fitness.tolist()
    assert record.pool[:, 0].tolist() == sorted(seen, reverse=True)[:5]
    assert len(record.filled) == 1
