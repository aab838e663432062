"""D3S: which answers and tokens it learns from, how many as it goes on, and what its loss is made of."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from answers import answered, drifted, entropies, gradient

from actrix import registry
from actrix.data.batches import counted
from actrix.errors import ActrixError
from actrix.run.trainer import RunOptions, Trainer

MIXED = [1.0, 0, 0, 0, 1, 1, 0, 1, 1, 1, 1, 1, 0, 0, 0, 0]  # two groups that differ, one all right, one all wrong
ALL = {"samples_first": 1.0, "samples_last": 1.0, "across": 1.0, "tokens_first": 1.0, "tokens_last": 1.0}


def variance(values: torch.Tensor) -> float:
    return float(values.var(unbiased=False))


def test_the_answers_are_the_subset_whose_advantages_vary_most() -> None:
    """By trying all subsets: first of each group, then of all that were kept."""
    scores = torch.rand(16, generator=torch.Generator().manual_seed(3)).tolist()
    learner, steps = answered("d3s", scores, **{**ALL, "samples_first": 0.75, "across": 0.5})
    worth = learner.worth(steps)
    kept = learner.kept_answers(worth, torch.ones(16, dtype=torch.bool))
    survivors = []
    for g in range(4):
        tries = [list(s) for s in itertools.combinations(range(4 * g, 4 * g + 4), 3)]
        survivors += max(tries, key=lambda s: variance(worth[s]))
    best = max(variance(worth[list(s)]) for s in itertools.combinations(survivors, 6))
    assert int(kept.sum()) == 6
    assert set(kept.nonzero()[:, 0].tolist()) < set(survivors)
    assert abs(variance(worth[kept]) - best) < 1e-5


def test_groups_that_agree_drop_out_and_answers_without_a_verdict_too() -> None:
    learner, steps = answered("d3s", MIXED, **{**ALL, "samples_first": 0.5, "across": 0.5})
    rows = learner.prepare(steps).action_mask.any(1)
    assert int(rows.sum()) == 4
    assert not rows[8:].any()
    assert rows[0]  # the only right answer of its group
    assert rows[6]  # the only wrong one
    reward = steps.reward.clone()
    reward[0, steps.length[0] - 1] = torch.nan
    assert not learner.prepare(replace(steps, reward=reward)).action_mask[0].any()


def test_the_tokens_are_those_where_the_policy_is_in_doubt_and_much_is_at_stake() -> None:
    learner, steps = answered("d3s", MIXED, **{**ALL, "samples_first": 0.5, "across": 0.5, "tokens_first": 0.3})
    done = learner.prepare(steps)
    doubt = entropies(learner, steps).detach()
    again, _ = answered("d3s", MIXED, samples_first=0.5, across=0.5)
    rows = again.kept_answers(learner.worth(steps), torch.ones(16, dtype=torch.bool))
    mask = steps.action_mask & rows[:, None]
    assert not (done.action_mask & ~mask).any()
    value = (learner.worth(steps)[:, None].abs() * doubt)[mask]
    chosen = done.action_mask[mask]
    assert int(chosen.sum()) == -(-3 * int(mask.sum()) // 10)
    assert value[chosen].min() >= value[~chosen].max() - 1e-5


def test_it_takes_more_and_more_in_a_straight_line() -> None:
    shares = {"samples_first": 0.25, "samples_last": 0.75, "tokens_first": 0.2, "tokens_last": 0.8, "across": 1.0}
    learner, steps = answered("d3s", MIXED, **shares, anneal=4)
    answers, share = [], []
    for _ in range(6):
        rows = learner.kept_answers(learner.worth(steps), torch.ones(16, dtype=torch.bool))
        answers.append(int(rows.sum()))
        share.append(int(learner.prepare(steps).action_mask.sum()) / int(steps.action_mask[rows].sum()))
    assert answers == [4, 8, 8, 12, 12, 12]  # 1, 1.5, 2, 2.5 and 3 of each four, to the next whole one
    assert share == pytest.approx([0.2, 0.35, 0.5, 0.65, 0.8, 0.8], abs=0.03)
    again, _ = answered("d3s", MIXED, **shares, anneal=4)
    again.restore(learner.state())
    assert again.rounds == 6


def test_of_all_answers_and_tokens_it_is_grpo() -> None:
    learner, steps = answered("d3s", MIXED, **ALL)
    peer, _ = answered("grpo", MIXED, clip_high=0.2)
    drifted(learner)
    drifted(peer)
    found, expected = (
        gradient(each, each.losses(counted(each.prepare(steps))).groups["actor"]) for each in (learner, peer)
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_the_mean_is_over_what_is_kept_and_the_rest_has_no_say() -> None:
    learner, steps = answered("d3s", MIXED, samples_first=0.5, tokens_first=0.4)
    done = counted(learner.prepare(steps))
    drifted(learner)
    ratio = (learner.log_prob(steps) - steps.logp_behaviour).exp()[done.action_mask]
    worth = done.advantage[done.action_mask]
    expected = -torch.minimum(ratio * worth, ratio.clamp(0.8, 1.2) * worth).mean()
    torch.testing.assert_close(learner.losses(done).groups["actor"], expected, rtol=1e-4, atol=1e-6)
    alone = done[done.action_mask.any(1)]  # as the feed hands it out
    torch.testing.assert_close(learner.losses(alone).groups["actor"], expected, rtol=1e-4, atol=1e-6)


def test_a_share_is_above_nothing_and_at_most_all() -> None:
    for name, value in (("across", 0.0), ("tokens_first", 1.5), ("samples_last", -0.1)):
        with pytest.raises(ActrixError, match=f"--{name.replace('_', '-')} is a share"):
            answered("d3s", MIXED, **{name: value})


def test_the_feed_hands_out_what_is_learned_from_and_nothing_else() -> None:
    learner, steps = answered("d3s", MIXED, samples_first=0.5, across=0.5, minibatches=2)
    config = registry.load("d3s").config(model="micro", prompts=4, group=4, warm_steps=0, minibatches=2)
    made = Trainer.start("d3s", RunOptions(task="countdown", steps=1, threads=1, compile="no"), config)
    done = learner.prepare(steps)
    rows = done.action_mask.any(1)
    parts = [part for part, _ in made.feed.passes(done)]  # type: ignore[attr-defined]
    assert 0 < sum(map(len, parts)) == int(rows.sum()) < 16
    assert all(bool(part.action_mask.any(1).all()) for part in parts)
    assert sum(int(part.total) for part in parts) == int(done.action_mask.sum())
    nothing = replace(done, action_mask=torch.zeros_like(done.action_mask))
    assert list(made.feed.passes(nothing)) == []  # type: ignore[attr-defined]
