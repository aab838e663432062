"""Lite PPO: its two tricks, by hand, and the choices it refuses."""

from __future__ import annotations

import pytest
import torch
from answers import answered, drifted, gradient

from actrix.data.batches import counted, whole_groups
from actrix.errors import ActrixError

SCORES = [1.0, 1, 1, 0.9, 1, 1, 0, 1, 0, 0, 0, 0]


def test_advantages_are_of_the_group_and_of_the_spread_of_the_whole_round() -> None:
    learner, steps = answered("lite-ppo", SCORES)
    done = learner.prepare(steps)
    score = torch.tensor(SCORES).view(3, 4)
    expected = ((score - score.mean(1, keepdim=True)) / score.std()).flatten()
    torch.testing.assert_close(done.advantage, expected[:, None].expand_as(steps.reward), rtol=1e-4, atol=1e-5)
    # a minibatch keeps them: its own spread would be another
    parts = whole_groups(done, 3)
    torch.testing.assert_close(torch.cat([p.advantage[:, 0] for p in parts]), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("average", ["token", "sequence"])
def test_answers_weigh_by_their_length_unless_they_are_averaged_first(average: str) -> None:
    learner, steps = answered("lite-ppo", SCORES, average=average, clip=0.1, clip_high=0.3)
    done = counted(learner.prepare(steps))
    drifted(learner)
    logp, total = learner.log_prob(steps), torch.zeros(())
    lengths = steps.action_mask.sum(1)
    assert len(set(lengths.tolist())) > 1
    for i in range(len(SCORES)):
        mask = steps.action_mask[i]
        ratio = (logp[i] - steps.logp_behaviour[i])[mask].exp()
        advantage = done.advantage[i, 0]
        surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.9, 1.3) * advantage)
        weight = 1 / lengths.sum() if average == "token" else 1 / (len(SCORES) * lengths[i])
        total = total - weight * surrogate.sum()
    expected = gradient(learner, total)
    found = gradient(learner, learner.losses(done).groups["actor"])
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_words_that_it_does_not_know() -> None:
    for settings in ({"centre": "mean"}, {"scale": "std"}, {"average": "mean"}, {"scale": "group", "centre": "batch"}):
        with pytest.raises(ActrixError, match=f"--{next(iter(settings))} is ") as caught:
            answered("lite-ppo", SCORES, **settings)
        assert caught.value.misuse
