"""The average-Sharpe reward in PPO: what it adds."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from test_contracts import SPECS, batch_of, build, experience

from actrix.errors import ActrixError
from actrix.run.feeds import flatten
from actrix.run.trainer import RunOptions, Trainer

ENV = "actrix.envs.portfolio:Portfolio-v0?days=12&window=4&assets=3"


def test_with_returns_as_reward_it_is_ppo() -> None:
    """And so is what it does with a reward, whatever that is."""
    shared: dict[str, Any] = {"normalise_obs": True, "hidden": (16,), "log_std": -1.0}
    mine: Any = build("sharpe-portfolio", SPECS["box"], reward="return", **shared)
    theirs: Any = build("ppo", SPECS["box"], **shared)
    theirs.actor.net.load_state_dict(mine.actor.net.net.state_dict())
    theirs.critic.net.load_state_dict(mine.critic.net.net.state_dict())
    for i in range(3):
        for learner in (mine, theirs):
            learner.update(flatten(learner.prepare(experience(mine, i))))
    for one, other in zip(mine.actor.parameters(), theirs.actor.parameters()):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_a_rollout_is_paid_its_running_sharpe_ratio() -> None:
    """Of the environment's rewards, from the beginning of each episode, over the borders of batches."""
    config = type(build("sharpe-portfolio", SPECS["box"]).config)(horizon=9, envs=3, scale_reward=False, hidden=(8,))
    trainer = Trainer.start("sharpe-portfolio", RunOptions(env=ENV, steps=200, compile="no"), config)
    learner, feed = trainer.learner, trainer.feed
    feed.reset()
    raw, paid, over = [], [], []
    for _ in range(4):
        steps = feed.collect(learner)  # type: ignore[attr-defined]
        raw.append(steps.reward)
        over.append(steps.terminated)
        paid.append(learner.paid(steps))
    value, found, ended = (torch.cat(x, 1).double().numpy() for x in (raw, paid, over))
    assert ended.sum() == 9
    for row in range(3):
        for t in range(36):
            past = value[row, t - t % 12 : t + 1]
            expected = np.sqrt(252) * past.mean() / past.std() if len(past) >= 5 else 0.0
            assert found[row, t] == pytest.approx(expected, rel=1e-3, abs=1e-3)
    trainer.close()


@pytest.mark.parametrize("reward", ["sharpe", "terminal", "differential"])
def test_scale_of_returns_does_not_matter(reward: str) -> None:
    """A Sharpe ratio has no unit: ten times the return, at ten times the risk, is worth the same."""
    learners: list[Any] = [build("sharpe-portfolio", SPECS["box"], reward=reward) for _ in range(2)]
    for scale, learner in zip((1.0, 10.0), learners):
        steps = experience(learner, 0)
        learner.update(flatten(learner.prepare(dataclasses.replace(steps, reward=scale * steps.reward))))
    for one, other in zip(learners[0].parameters(), learners[1].parameters()):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_a_barrier_begins_new_episodes() -> None:
    learner: Any = build("sharpe-portfolio", SPECS["box"])
    batch_of(learner, 0)
    assert (learner.judge.running != 0).any()
    learner.forget()
    assert (learner.judge.running == 0).all()


def test_a_reward_that_there_is_not_is_refused() -> None:
    with pytest.raises(ActrixError, match="--reward") as caught:
        build("sharpe-portfolio", SPECS["box"], reward="profit")
    assert caught.value.misuse
