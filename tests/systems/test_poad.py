"""POAD: credit over actions of any number of tokens, by hand and against the values of whole actions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from answers import drifted, entropies, gradient, talked
from torch import Tensor

from actrix import credit
from actrix.data.batches import Steps, counted

SEGMENT = torch.tensor([[-1, -1, 0, 0, 0, -1, -1, 1, -1, 2, 2, -1], [-1, 0, -1, 1, 1, 1, 1, -1, -1, -1, -1, -1]])


def paid(**settings: Any) -> tuple[Any, Steps]:
    """A learner and conversations with a reward in every turn."""
    learner, steps = talked("poad", **settings)
    last = credit.between(steps.segment, 0.0) == 0
    return learner, replace(steps, reward=torch.randn(last.shape, generator=torch.Generator().manual_seed(0)) * last)


def test_the_discount_applies_after_the_last_token_of_an_action_alone() -> None:
    expected = torch.ones(2, 12)
    expected[0, [4, 7, 10]] = 0.9
    expected[1, [1, 6]] = 0.9
    torch.testing.assert_close(credit.between(SEGMENT, 0.9), expected)


def by_hand(value: Tensor, reward: Tensor, segment: Tensor, discount: float, decay: float) -> Tensor:
    """The backward pass over one conversation as the paper writes it: action by action, token by token."""
    acts = [[int(t) for t in (segment == k).nonzero()[:, 0]] for k in range(int(segment.max()) + 1)]
    found, follows, after = torch.zeros_like(value), 0.0, 0.0  # G and V of the first token of the next action
    for places in reversed(acts):
        for t in reversed(places):
            if t == places[-1]:
                delta = float(reward[t]) + discount * after - float(value[t])
                found[t] = delta + discount * decay * follows
            else:
                found[t] = float(value[t + 1] - value[t]) + decay * float(found[t + 1])
        follows, after = float(found[places[0]]), float(value[places[0]])
    return found


def test_advantages_by_hand() -> None:
    draw = torch.Generator().manual_seed(1)
    value, reward = torch.randn(2, 2, 12, generator=draw, dtype=torch.float64)
    mask, none = SEGMENT >= 0, torch.zeros(2, 12, dtype=torch.bool)
    reward = reward * (credit.between(SEGMENT, 0.0) == 0)
    ended = none.clone()
    ended[0, 10] = ended[1, 6] = True
    found, target = credit.gae(
        reward,
        value,
        torch.nn.functional.pad(value[:, 1:], (0, 1)),
        ended,
        none,
        credit.between(SEGMENT, 0.8),
        0.7,
        mask,
    )
    for row in range(2):
        expected = by_hand(value[row], reward[row], SEGMENT[row], 0.8, 0.7)
        torch.testing.assert_close(found[row], expected)
    torch.testing.assert_close(target[mask], (found + value)[mask])


def test_one_discount_for_all_is_the_same_as_a_number() -> None:
    draw = torch.Generator().manual_seed(2)
    reward, value, after = torch.randn(3, 5, 9, generator=draw)
    ended, cut, acts = torch.rand(3, 5, 9, generator=draw) < torch.tensor([0.1, 0.1, 0.7])[:, None, None]
    for mask in (None, acts):
        one = credit.gae(reward, value, after, ended, cut, 0.9, 0.8, mask)
        each = credit.gae(reward, value, after, ended, cut, torch.full((5, 9), 0.9), 0.8, mask)
        assert all(torch.equal(a, b) for a, b in zip(one, each))


def test_an_action_is_worth_the_same_however_many_tokens_it_takes() -> None:
    """With decay 1 and values of nothing, the first token of each action has the discounted return of the actions."""
    none = torch.zeros(1, 12, dtype=torch.bool)
    for segment in (SEGMENT[:1], torch.tensor([[0, 1, 2, -1, -1, -1, -1, -1, -1, -1, -1, -1]])):
        last = credit.between(segment, 0.0) == 0
        reward = torch.zeros(1, 12).masked_scatter(last, torch.tensor([1.0, 2.0, 4.0]))
        zeros = torch.zeros(1, 12)
        found, _ = credit.gae(reward, zeros, zeros, none, none, credit.between(segment, 0.5), 1.0, segment >= 0)
        first = [int((segment[0] == k).nonzero()[0]) for k in range(3)]
        torch.testing.assert_close(found[0, first], torch.tensor([3.0, 4.0, 4.0]))


def test_what_the_learner_learns_from_is_that() -> None:
    learner, steps = paid(discount=0.8, decay=0.9)
    with torch.no_grad():
        for p in learner.critic.parameters():
            p.add_(0.05 * torch.randn_like(p))
        value = learner.critic(steps.obs)
    done = learner.prepare(steps)
    for row in range(6):
        expected = by_hand(value[row], steps.reward[row], steps.segment[row], 0.8, 0.9) + value[row]
        mask = steps.action_mask[row]
        torch.testing.assert_close(done.target[row][mask], expected[mask], rtol=1e-4, atol=1e-5)


def test_the_actor_stays_where_it_has_gone_too_far() -> None:
    learner, steps = paid(most_kl=1e9, entropy_weight=0.1)
    done = counted(learner.prepare(steps))
    drifted(learner)
    logp = learner.log_prob(steps)[steps.action_mask]
    change = logp - steps.logp_behaviour[steps.action_mask]
    worth = done.advantage[steps.action_mask]
    spread = entropies(learner, steps)[steps.action_mask]
    gain = torch.minimum(change.exp() * worth, change.exp().clamp(0.8, 1.2) * worth)
    expected = -gain.mean() - 0.1 * spread.mean()
    found = learner.losses(done)
    torch.testing.assert_close(found.groups["actor"], expected, rtol=1e-4, atol=1e-6)
    kl = (change.exp() - 1 - change).mean().detach()
    torch.testing.assert_close(found.notes["kl"], kl, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        gradient(learner, found.groups["actor"]), gradient(learner, expected), rtol=1e-3, atol=1e-5
    )
    near, _ = paid(most_kl=float(kl) * 0.9, entropy_weight=0.1)
    near.load_state_dict(learner.state_dict())
    stays = near.losses(done)
    assert gradient(near, stays.groups["actor"]).abs().max() == 0
    assert torch.equal(stays.groups["critic"], found.groups["critic"])
