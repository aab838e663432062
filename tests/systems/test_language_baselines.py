"""RLOO and PPO on tokens, against their formulas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from actrix.data.batches import Steps, counted
from actrix.errors import ActrixError
from actrix.run.trainer import RunOptions, Trainer
from actrix.systems.language import ppo_token, rloo


def sampled(slug: str, config: Any) -> tuple[Any, Steps]:
    made = Trainer.start(slug, RunOptions(task="countdown", steps=1, threads=1, compile="no"), config)
    steps, _ = made.feed.collect(made.learner)  # type: ignore[attr-defined]
    reward = torch.zeros_like(steps.reward)
    assert steps.length is not None
    draws = torch.rand(len(steps), generator=torch.Generator().manual_seed(0))
    reward[torch.arange(len(steps)), steps.length - 1] = draws
    return made.learner, replace(steps, reward=reward)


SMALL: dict[str, Any] = {"model": "micro", "prompts": 3, "group": 4, "warm_steps": 0}


def test_rloo_is_the_sum_over_an_answer_times_what_it_is_better_than_the_others() -> None:
    learner, steps = sampled("rloo", rloo.Config(kl=0.5, **SMALL))
    with torch.no_grad():
        for p in learner.reference.copy.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1)))
        anchor = (learner.reference.copy.log_prob(steps.obs, steps.length) * steps.action_mask).sum(1)
        own = (learner.log_prob(steps) * steps.action_mask).sum(1)
    found = learner.losses(counted(learner.prepare(steps))).groups["actor"]
    reward = (steps.reward.sum(1) - 0.5 * (own - anchor)).view(3, 4)
    expected = torch.zeros(())
    for g in range(3):
        for i in range(4):
            others = [reward[g, j] for j in range(4) if j != i]
            expected -= (reward[g, i] - sum(others) / 3) * own[4 * g + i] / 12
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_token_values_see_what_stands_before_the_token_and_credit_matches_a_loop() -> None:
    learner, steps = sampled("ppo-token", ppo_token.Config(discount=0.9, decay=0.8, **SMALL))
    with torch.no_grad():
        learner.critic.head.weight.normal_(generator=torch.Generator().manual_seed(0))
        value = learner.critic(steps.obs)
        changed = steps.obs.clone()
        changed[:, 9] = (changed[:, 9] + 1) % 10
        other = learner.critic(changed)
    assert torch.allclose(value[:, :10], other[:, :10], atol=1e-6)
    assert not torch.allclose(value[:, 10], other[:, 10], atol=1e-6)
    steps = replace(steps, reward=steps.reward.index_fill(0, torch.tensor([5]), torch.nan))  # no verdict
    done = learner.prepare(steps)
    assert not done.action_mask[5].any()
    advantages = {}
    for row in (r for r in range(len(steps)) if r != 5):
        places = steps.action_mask[row].nonzero()[:, 0].tolist()
        running = 0.0
        for t in reversed(places):  # a verdict on a cut answer is final, too
            following = float(value[row, t + 1]) if t != places[-1] else 0.0
            running = float(steps.reward[row, t]) + 0.9 * following - float(value[row, t]) + 0.72 * running
            advantages[row, t] = running
    for (row, t), expected in advantages.items():
        assert abs(float(done.target[row, t]) - (expected + float(value[row, t]))) < 1e-4
    numbers = torch.tensor(list(advantages.values()))
    scaled = (numbers - numbers.mean()) / numbers.std()
    found = torch.stack([done.advantage[at] for at in advantages])
    torch.testing.assert_close(found, scaled, rtol=1e-3, atol=1e-4)


def test_the_token_critic_starts_as_the_warm_started_policy() -> None:
    config = ppo_token.Config(**{**SMALL, "warm_steps": 3, "warm_batch": 4})
    made = Trainer.start("ppo-token", RunOptions(task="countdown", steps=1, threads=1, compile="no"), config)
    learner: Any = made.learner
    for batch, phase, _ in made.feed.prelude(learner):
        learner.update(batch, phase)
    for mine, theirs in zip(learner.critic.reader.parameters(), learner.actor.parameters()):
        assert torch.equal(mine, theirs)


def test_a_table_has_no_token_critic() -> None:
    config = ppo_token.Config(**{**SMALL, "model": "table"})
    with pytest.raises(ActrixError, match="value head") as caught:
        Trainer.start("ppo-token", RunOptions(task="game:rps", steps=1, threads=1, compile="no"), config)
    assert caught.value.misuse
