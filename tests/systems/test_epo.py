"""EPO: its loss by hand, turn by turn, what the corridor is made of, and that the released penalty moves nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from answers import drifted, entropies, gradient, talked
from torch import Tensor

from actrix.data.batches import Steps, counted
from actrix.errors import ActrixError
from actrix.objectives import by_turns, corridor


def by_hand(value: Tensor, steps: Steps) -> Tensor:
    """Mean over conversations of means over turns of means over tokens."""
    rows = []
    assert steps.segment is not None
    for v, segment, mask in zip(value, steps.segment, steps.action_mask):
        turns = [v[mask & (segment == k)].mean() for k in sorted(set(segment[mask].tolist()))]
        rows.append(torch.stack(turns).mean())
    return torch.stack(rows).mean()


def test_weights_of_turns_by_hand() -> None:
    segment = torch.tensor([[-1, 0, 0, -1, 1, 1, 1, 1], [-1, 0, -1, -1, -1, -1, -1, 0]])
    mask = torch.tensor([[0, 1, 1, 0, 1, 0, 1, 1], [0, 0, 0, 0, 0, 0, 0, 0]]).bool()
    expected = [[0, 1 / 4, 1 / 4, 0, 1 / 6, 0, 1 / 6, 1 / 6], [0.0] * 8]
    torch.testing.assert_close(by_turns(mask, segment), torch.tensor(expected))
    value = torch.tensor([0.1, 0.5, 1.0, 2.0, 3.0])
    torch.testing.assert_close(
        corridor(value, torch.tensor(0.5), torch.tensor(2.0)), torch.tensor([0.4, 0.0, 0.0, 0.0, 1.0])
    )


def test_the_loss_by_hand_in_the_first_round_and_in_the_third() -> None:
    settings = {"weight": 0.3, "penalty": 0.7, "low": 0.9, "high": 1.1, "fade": 2.0, "anneal": 8}
    learner, steps = talked("epo", **settings)
    plain, _ = talked("epo", weight=0.0)
    plain.load_state_dict(learner.state_dict())
    seen = []
    for k in range(3):
        done = counted(learner.prepare(steps))
        seen.append(float(entropies(learner, steps)[steps.action_mask].detach().mean()))
        drifted(learner)  # the policy is another one in every round
        plain.actor.load_state_dict(learner.actor.state_dict())
        h = sum(seen[:-1]) / max(len(seen) - 1, 1)
        now = entropies(learner, steps)
        strays = (0.9 * h - now).relu() + (now - 1.1 * h).relu()
        beta = 1 + math.exp(-2.0 * k / 4) if k else 0.0
        expected = -0.3 * (by_hand(now, steps) - beta * 0.7 * by_hand(strays, steps))
        found = learner.losses(done).groups["actor"] - plain.losses(done).groups["actor"]
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(gradient(learner, expected), gradient_of_difference(learner, plain, done), **CLOSE)


CLOSE: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-5}


def gradient_of_difference(learner: Any, plain: Any, done: Steps) -> Tensor:
    return gradient(learner, learner.losses(done).groups["actor"]) - gradient(plain, plain.losses(done).groups["actor"])


def test_the_count_of_the_released_code_moves_nothing() -> None:
    """Its gradient is that of the entropy bonus alone, to the bit; and the distance has another one."""
    settings = {"weight": 0.1, "low": 0.5, "high": 1.0, "penalty": 5.0}
    found = {}
    for name, more in (("none", {"penalty": 0.0}), ("count", {"smooth": "count"}), ("distance", {})):
        learner, steps = talked("epo", **{**settings, **more})
        for _ in range(2):
            done = counted(learner.prepare(steps))
        loss = learner.losses(done).groups["actor"]
        found[name] = loss.detach(), gradient(learner, loss)
    assert torch.equal(found["none"][1], found["count"][1])
    assert found["none"][0] < found["count"][0], "it only shows in the loss"
    assert not torch.allclose(found["none"][1], found["distance"][1], rtol=1e-3)


def test_the_corridor_draws_entropy_back_to_what_it_was() -> None:
    """Without rewards: a policy that has become surer than ever becomes less sure, and the other way round."""
    for factor in (0.5, 2.0):
        learner, steps = talked("epo", weight=50.0, penalty=20.0, low=0.9, high=1.1, rate=1e-3)
        steps = replace(steps, reward=torch.zeros_like(steps.reward))
        learner.prepare(steps)
        learner.last.mul_(factor)  # as if the first round had been surer, or less sure
        done = counted(learner.prepare(steps))
        done = replace(done, advantage=torch.zeros_like(done.advantage))
        before = by_hand(entropies(learner, steps), steps)
        for _ in range(5):
            learner.update(done)
        after = by_hand(entropies(learner, steps), steps)
        assert (after > before) == (factor > 1)


def test_what_it_remembers_is_restored() -> None:
    learner, steps = talked("epo")
    for _ in range(3):
        learner.prepare(steps)
    other, _ = talked("epo")
    other.restore(learner.state())
    assert (other.rounds, other.before, other.last) == (3, learner.before, learner.last)
    with pytest.raises(ActrixError, match="--smooth is "):
        talked("epo", smooth="both")
