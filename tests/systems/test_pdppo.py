"""PDPPO against closed forms: what it adds to PPO."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from test_contracts import SPECS, batch_of, build, experience

from actrix.errors import ActrixError
from actrix.run.trainer import RunOptions, Trainer

PLAIN: dict[str, Any] = {"normalise_obs": False, "scale_reward": False}


def known(learner: Any) -> Any:
    """Experience in which every step counts."""
    steps = experience(learner, 0)
    return dataclasses.replace(steps, action_mask=torch.ones(4, 8, dtype=torch.bool))


def test_return_is_the_sum_of_rewards_to_the_end() -> None:
    learner: Any = build("pdppo", SPECS["multidiscrete"], discount=0.9, **PLAIN)
    steps = known(learner)
    terminated = torch.zeros(4, 8, dtype=torch.bool)
    terminated[:, [3, 7]] = True
    following = torch.cat((steps.obs[:, 1:], steps.next_obs[:, -1:]), 1)
    steps = dataclasses.replace(
        steps, terminated=terminated, truncated=torch.zeros_like(terminated), next_obs=following
    )
    found = learner.prepare(steps).target
    for row in range(4):
        for start, stop in ((0, 4), (4, 8)):
            for t in range(start, stop):
                expected = sum(0.9 ** (k - t) * steps.reward[row, k].item() for k in range(t, stop))
                assert found[row, t].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("baseline", ["min", "state", "post", "gain"])
def test_baselines(baseline: str) -> None:
    learner: Any = build("pdppo", SPECS["discrete"], baseline=baseline, **PLAIN)
    steps = known(learner)
    found = learner.prepare(steps)
    with torch.no_grad():
        value, post = learner.critic(steps.obs), learner.post(steps.post_obs)
    expected = {
        "min": found.target - torch.minimum(value, post),
        "state": found.target - value,
        "post": found.target - post,
        "gain": post - value,
    }
    torch.testing.assert_close(found.advantage, expected[baseline], rtol=1e-4, atol=1e-5)
    assert (value < post).any()
    assert (value > post).any()


@pytest.mark.parametrize("joint", [False, True])
def test_values_learn_the_return_both_or_only_the_smaller(joint: bool) -> None:
    learner: Any = build("pdppo", SPECS["discrete"], joint=joint, **PLAIN)
    batch = batch_of(learner, 0)
    value, post = learner.critic(batch.obs).detach(), learner.post(batch.post_obs).detach()
    loss = learner.losses(batch).groups["value"]
    errors = [0.5 * (v - batch.target).square().mean() for v in (torch.minimum(value, post), value, post)]
    torch.testing.assert_close(loss.detach(), errors[0] if joint else errors[1] + errors[2])
    if joint:  # where V is far below, V_post is not moved
        with torch.no_grad():
            learner.critic.net.layers[-1].bias.sub_(100.0)
        moved = torch.autograd.grad(learner.losses(batch).groups["value"], list(learner.post.parameters()))
        assert all((g == 0).all() for g in moved)


def test_with_nothing_known_it_is_ppo_with_two_critics() -> None:
    """Where g is the identity, and where the second critic is given s, every update is the same."""
    learners: list[Any] = [build("pdppo", SPECS["discrete"], post_state=on, **PLAIN) for on in (True, False)]
    for i in range(3):
        for learner in learners:
            steps = experience(learner, i)
            given = dataclasses.replace(steps, post_obs=steps.obs) if learner.config.post_state else steps
            learner.update(learner_batch(learner, given))
    for mine, theirs in zip(learners[0].parameters(), learners[1].parameters()):
        assert torch.equal(mine, theirs)


def learner_batch(learner: Any, steps: Any) -> Any:
    from actrix.run.feeds import flatten

    return flatten(learner.prepare(steps))


def test_with_the_baseline_of_ppo_its_policy_moves_as_that_of_ppo() -> None:
    shared = {**PLAIN, "decay": 0.95, "entropy_weight": 0.01, "clip_norm": 1e9}
    mine: Any = build("pdppo", SPECS["discrete"], baseline="state", **shared)
    theirs: Any = build("ppo", SPECS["discrete"], value_weight=0.0, **shared)
    theirs.actor.load_state_dict(mine.actor.state_dict())
    theirs.critic.load_state_dict(mine.critic.state_dict())
    batches = [learner_batch(learner, experience(mine, 0)) for learner in (mine, theirs)]
    torch.testing.assert_close(batches[0].advantage, batches[1].advantage)
    for learner, batch in zip((mine, theirs), batches):
        learner.update(batch)
    for one, other in zip(mine.actor.parameters(), theirs.actor.parameters()):
        torch.testing.assert_close(one, other)


def test_what_is_known_is_recorded_as_the_critic_sees_it() -> None:
    """The rollout's post states are g of what was seen and done, normalised by the statistics of that moment."""
    config = type(build("pdppo", SPECS["discrete"]).config)(hidden=(8,), horizon=12, envs=3)
    trainer = Trainer.start("pdppo", RunOptions(env="actrix.envs.lots:LotSizing-v0", steps=36, compile="no"), config)
    learner, feed = trainer.learner, trainer.feed
    raw: list[Any] = []
    explore = learner.explore

    def seen(obs: Any, *rest: Any) -> Any:
        decided = explore(obs, *rest)
        assert feed.post is not None  # type: ignore[attr-defined]
        raw.append(learner.perceive(feed.post(obs, decided[0].action)))  # type: ignore[attr-defined]
        return decided

    learner.explore = seen  # type: ignore[method-assign]
    feed.reset()
    steps = feed.collect(learner)  # type: ignore[attr-defined]
    torch.testing.assert_close(steps.post_obs, torch.stack(raw, 1))
    assert (steps.post_obs != steps.obs).any()
    assert (steps.post_obs != steps.next_obs).any()
    trainer.close()


def test_it_says_what_it_cannot_do() -> None:
    with pytest.raises(ActrixError, match="baseline") as caught:
        build("pdppo", SPECS["box"], baseline="max")
    assert caught.value.misuse
    with pytest.raises(ActrixError, match="before chance") as caught:
        Trainer.start("pdppo", RunOptions(env="CartPole-v1", steps=100))
    assert caught.value.misuse
    assert "post_decision" in caught.value.hint
