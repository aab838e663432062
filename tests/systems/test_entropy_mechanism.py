"""Entropy mechanism: which tokens are chosen, and what is done to them and to no others."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from answers import answered, drifted, gradient

from actrix.data.batches import counted
from actrix.errors import ActrixError
from actrix.rng import torch_stream

SCORES = [1.0, 0, 0, 0, 1, 1, 0, 1, 0, 0, 0, 0]


def test_kl_cov_chooses_the_tokens_that_covary_most_and_penalises_them_alone() -> None:
    learner, steps = answered("entropy-mechanism", SCORES, share=0.1, weight=0.7)
    done = counted(learner.prepare(steps))
    mask = steps.action_mask
    logp, advantage = steps.logp_behaviour[mask], done.advantage[mask]
    parts = (logp - logp.mean()) * (advantage - advantage.mean())
    count = int(0.1 * len(parts))
    assert count > 3
    assert set(parts.argsort(descending=True)[:count].tolist()) == set(done.chosen[mask].nonzero()[:, 0].tolist())
    assert not done.chosen[~mask].any()
    drifted(learner)
    after = learner.log_prob(steps)[mask]
    per_token = -(after - logp).exp() * advantage + 0.7 * (after - logp).abs() * done.chosen[mask]
    expected = gradient(learner, per_token.sum() / len(parts))
    found = gradient(learner, learner.losses(done).groups["actor"])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_where_the_policy_has_not_moved_kl_cov_is_the_policy_gradient() -> None:
    learner, steps = answered("entropy-mechanism", SCORES, share=0.5, weight=100.0)
    done = counted(learner.prepare(steps))
    logp = learner.log_prob(steps)
    expected = gradient(learner, -(logp * done.advantage)[steps.action_mask].mean())
    found = gradient(learner, learner.losses(done).groups["actor"])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_clip_cov_draws_from_between_its_bounds_and_silences_what_it_draws() -> None:
    settings = {"restrain": "clip-cov", "share": 0.05, "low": 0.1, "high": 2.0, "clip": 0.2, "clip_high": 0.2}
    learner, steps = answered("entropy-mechanism", SCORES, **settings)
    mask = steps.action_mask
    drawn = []
    for seed in range(30):
        with torch_stream(seed, "prepare"):
            done = learner.prepare(steps)
        drawn.append(done.chosen[mask].nonzero()[:, 0].tolist())
    logp, advantage = steps.logp_behaviour[mask], done.advantage[mask]
    parts = (logp - logp.mean()) * (advantage - advantage.mean())
    candidates = set(((parts > 0.1) & (parts < 2.0)).nonzero()[:, 0].tolist())
    count = int(0.05 * len(parts))
    assert 1 < count < len(candidates) < len(parts) / 2
    assert all(len(each) == count for each in drawn)
    assert {i for each in drawn for i in each} <= candidates
    assert len({i for each in drawn for i in each}) > 0.7 * len(candidates), "the draws are uniform, not the same"
    drifted(learner)
    ratio = (learner.log_prob(steps)[mask] - logp).exp()
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage) * ~done.chosen[mask]
    expected = gradient(learner, -surrogate.sum() / len(parts))  # what is silenced stays in the denominator
    found = gradient(learner, learner.losses(counted(done)).groups["actor"])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_one_token_at_least_is_chosen_and_none_where_none_is_a_candidate() -> None:
    learner, steps = answered("entropy-mechanism", SCORES, share=1e-9)
    assert int(learner.prepare(steps).chosen.sum()) == 1
    learner, steps = answered("entropy-mechanism", SCORES, restrain="clip-cov", low=90.0, high=100.0, share=0.5)
    assert int(learner.prepare(steps).chosen.sum()) == 0


def test_the_control_chooses_as_many_wherever_they_are() -> None:
    learner, steps = answered("entropy-mechanism", SCORES, share=0.2, choose="random")
    found = [learner.prepare(steps).chosen for _ in range(40)]
    count = int(0.2 * int(steps.action_mask.sum()))
    assert all(int(each.sum()) == count for each in found)
    assert bool(torch.equal(torch.stack(found).any(0), steps.action_mask))


def test_padding_is_never_chosen_and_has_no_say() -> None:
    learner, steps = answered("entropy-mechanism", SCORES, share=0.1)
    spoilt = replace(
        steps, logp_behaviour=torch.where(steps.action_mask, steps.logp_behaviour, 50.0), length=steps.length
    )
    assert torch.equal(learner.prepare(spoilt).chosen, learner.prepare(steps).chosen)


def test_words_that_it_does_not_know() -> None:
    for settings in ({"restrain": "cov"}, {"choose": "all"}, {"average": "mean"}):
        with pytest.raises(ActrixError, match=f"--{next(iter(settings))} is ") as caught:
            answered("entropy-mechanism", SCORES, **settings)
        assert caught.value.misuse
