"""SAPO: its loss by hand, answer by answer, and what it keeps where PPO clips."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from answers import answered, drifted, gradient

from actrix.data.batches import counted
from actrix.errors import ActrixError
from actrix.objectives import clipped, reduce

SCORES = [1.0, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0]


def test_the_loss_is_a_mean_over_answers_of_means_over_tokens_by_hand() -> None:
    learner, steps = answered("sapo", SCORES, tau=0.8, tau_negative=1.7)
    done = counted(learner.prepare(steps))
    drifted(learner)
    logp = learner.log_prob(steps).detach()
    total = 0.0
    for i, score in enumerate(SCORES):
        group = SCORES[i // 4 * 4 : i // 4 * 4 + 4]
        spread = math.sqrt(sum((s - sum(group) / 4) ** 2 for s in group) / 3)
        advantage = (score - sum(group) / 4) / (spread + 1e-6)
        tau = 0.8 if advantage > 0 else 1.7
        places = steps.action_mask[i].nonzero()[:, 0].tolist()
        for t in places:
            ratio = math.exp(float(logp[i, t] - steps.logp_behaviour[i, t]))
            total -= 4 / tau / (1 + math.exp(-tau * (ratio - 1))) * advantage / len(places) / len(SCORES)
    assert math.isclose(learner.losses(done).groups["actor"].item(), total, rel_tol=1e-3, abs_tol=1e-5)


def test_where_the_policy_has_not_moved_it_is_the_policy_gradient() -> None:
    learner, steps = answered("sapo", SCORES, tau=3.0, tau_negative=5.0)
    done = counted(learner.prepare(steps))
    expected = -reduce(learner.log_prob(steps) * done.advantage, steps.action_mask, "sequence")
    expected = gradient(learner, expected)
    found = gradient(learner, learner.losses(done).groups["actor"])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_an_answer_that_went_far_keeps_some_of_its_signal() -> None:
    """Wanted answers whose tokens are all twice as likely as they were: PPO has cut them off."""
    learner, steps = answered("sapo", [1.0, 0, 0, 0], average="token")
    done = counted(learner.prepare(steps))
    mask = steps.action_mask & (done.advantage > 0)
    done = counted(replace(done, action_mask=mask, logp_behaviour=steps.logp_behaviour - math.log(2.0)))
    cut = clipped(learner.log_prob(done), done.logp_behaviour, done.advantage, 0.2)
    assert gradient(learner, reduce(cut, mask)).abs().max() == 0
    plain = gradient(learner, -reduce(2 * learner.log_prob(done) * done.advantage, mask))
    found = gradient(learner, learner.losses(done).groups["actor"])
    gate = 1 / math.cosh(0.5) ** 2
    torch.testing.assert_close(found, gate * plain, rtol=1e-3, atol=1e-4 * float(plain.abs().max()))


def test_a_temperature_is_above_nothing() -> None:
    for name in ("tau", "tau_negative"):
        with pytest.raises(ActrixError, match="must be above 0"):
            answered("sapo", SCORES, **{name: 0.0})
