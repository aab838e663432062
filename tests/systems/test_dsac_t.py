"""DSAC-T: the variance of its gradient, its running statistics, and DSACv1 among its settings."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from test_contracts import SPECS, batch_of, build
from torch import Tensor

from actrix.rng import torch_stream

FIRST = {"members": 1, "expected_target": False, "bound": 10.0, "adaptive_weight": False}


def gradients(learner: Any, draws: int) -> Tensor:
    """d critic loss / d Q of one row of one batch, for redrawn returns; the policy and its noise stay: [draws, B]."""
    batch = batch_of(learner, 0)
    with torch_stream(0, "target"):
        target = learner.target(batch)
    learner.target = lambda batch: target
    found = []
    for i in range(draws):
        seen: list[Any] = []
        forward = learner.critic.forward

        def watched(obs: Tensor, action: Tensor, forward: Any = forward, seen: list[Any] = seen) -> Any:
            seen.append(forward(obs, action))
            return seen[-1]

        learner.critic.forward = watched
        with torch_stream(0, "draw", i):
            loss = learner.losses(batch, "critic").groups["critic"]
        learner.critic.forward = forward
        found.append(torch.autograd.grad(loss, seen[0].members)[0][0])
    return torch.stack(found)


def test_the_mean_s_gradient_has_no_variance_where_the_target_is_expected() -> None:
    assert gradients(build("dsac-t", SPECS["box"], target_rate=0.0), 200).var(0).max() < 1e-14
    sampled = gradients(build("dsac-t", SPECS["box"], target_rate=0.0, **FIRST), 200).var(0)
    alive = ~batch_of(build("dsac-t", SPECS["box"]), 0).terminated
    assert (sampled[alive] > 1e-8).all()
    assert sampled[~alive].max() < 1e-14, "nothing is drawn where nothing follows"


def test_the_running_std_begins_with_the_first_batch_and_follows() -> None:
    learner: Any = build("dsac-t", SPECS["box"], target_rate=0.25)
    batches = [batch_of(learner, i) for i in range(2)]
    stds = []
    for i, batch in enumerate(batches):
        with torch.no_grad():
            stds.append(learner.critic(batch.obs, batch.action).std.mean(1, keepdim=True))
        learner.update(batch, learner.phase(i))
    torch.testing.assert_close(learner.spread, stds[0] + 0.25 * (stds[1] - stds[0]))
    assert not learner.spread.requires_grad


def test_one_draw_and_one_mean_come_from_the_same_critic() -> None:
    """A target critic with the smaller mean and the larger spread supplies both."""
    learner: Any = build("dsac-t", SPECS["box"], temperature=1e-30, hidden=())
    with torch.no_grad():
        for p in learner.target_critic.copy.parameters():
            p.zero_()
        learner.target_critic.copy.net.layers[-1].bias.copy_(torch.tensor([[[1.0, -20.0]], [[-1.0, 50.0]]]))
    batch = batch_of(learner, 0)
    batch = dataclasses.replace(batch, terminated=torch.zeros_like(batch.terminated))
    target = learner.target(batch)
    torch.testing.assert_close(target.mean[0], batch.reward - 0.99)
    torch.testing.assert_close(target.std, torch.full((1, 32), 0.99 * 50))


def test_actor_temperature_and_targets_move_at_every_second_update() -> None:
    learner = build("dsac-t", SPECS["box"], delay=2)
    assert [learner.phase(i) for i in range(4)] == ["critic", "both", "critic", "both"]
    batch = batch_of(learner, 0)
    assert set(learner.losses(batch, "critic").groups) == {"critic"}
    assert set(learner.losses(batch, "both").groups) == {"critic", "actor", "temperature"}
