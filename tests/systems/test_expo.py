"""EXPO against closed forms: what it adds to the parts that it is made of."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from test_contracts import SPECS, batch_of, build

from actrix.critics.values import Value
from actrix.errors import ActrixError
from actrix.rng import torch_stream

SMALL: dict[str, Any] = {"members": 3, "denoising_steps": 2, "hidden": (16,)}


def test_no_value_moves_the_base() -> None:
    """The base's gradient is that of imitation alone, of the actions in the batch, whatever the critics say."""
    learner: Any = build("expo", SPECS["box"], **SMALL)
    batch = batch_of(learner, 0)
    found = []
    for scale in (1.0, 100.0):
        with torch.no_grad():
            learner.critic.net.layers[-1].weight.mul_(scale)
        with torch_stream(0, "losses"):
            losses = learner.losses(dataclasses.replace(batch, reward=scale * batch.reward), "imitate")
        found.append(learner.optimiser.gradients(losses.groups)["actor"])
    with torch_stream(0, "losses"):
        alone = torch.autograd.grad(
            learner.actor.base.imitate(batch.obs, batch.action), learner.optimiser.groups["actor"]
        )
    for one, other, imitation in zip(*found, alone):
        assert torch.equal(one, other)
        torch.testing.assert_close(one, imitation)
    losses = learner.losses(batch, "all").groups
    for name in ("critic", "edit", "temperature"):
        with pytest.raises(RuntimeError, match="not have been used"):
            torch.autograd.grad(losses[name], learner.optimiser.groups["actor"], retain_graph=True)


def test_critics_move_at_every_update_and_the_rest_at_one_in_delay() -> None:
    learner: Any = build("expo", SPECS["box"], imitation=2, delay=3, **SMALL)
    assert [learner.phase(i) for i in range(8)] == [*["imitate"] * 2, *["critic", "critic", "all"] * 2]
    batch = batch_of(learner, 0)
    every = {"critic", "actor", "edit", "temperature"}
    for phase, groups in (("imitate", {"actor"}), ("critic", {"critic"}), ("all", every)):
        assert set(learner.losses(batch, phase).groups) == groups


def test_target_is_the_least_of_members_drawn_anew_without_entropy() -> None:
    """Members that say 0, 1, 2 of everything: of two drawn the least is 0 in two cases of three, and 1 in one."""
    learner: Any = build("expo", SPECS["box"], **SMALL)
    with torch.no_grad():
        for p in learner.target_critic.copy.parameters():
            p.zero_()
        learner.target_critic.copy.net.layers[-1].bias.copy_(torch.arange(3.0)[:, None, None])
    batch = dataclasses.replace(batch_of(learner, 0), terminated=torch.zeros(32, dtype=torch.bool))
    seen = []
    for i in range(300):
        with torch_stream(0, "target", i):
            value = (learner.target(batch) - batch.reward) / learner.config.discount
        assert (value - value[0]).abs().max() < 1e-5
        seen.append(round(value[0].item()))
    assert seen.count(0) + seen.count(1) == 300
    assert seen.count(1) / 300 == pytest.approx(1 / 3, abs=0.08)


def test_edits_climb_to_what_is_in_reach() -> None:
    """Where value rises with the first number and falls with the second's square, edits go right by all they may, and
    bring the second to 0 where it is nearer than that."""
    learner: Any = build(
        "expo", SPECS["box"], edit_scale=0.3, rate=1e-2, temperature=1e-3, target_entropy=-20.0, **SMALL
    )
    learner.critic.frozen = lambda obs, action: Value((action[..., 0] - 4 * action[..., 1].square())[None])
    batch = batch_of(learner, 0)
    batch = dataclasses.replace(batch, action=torch.rand(32, 2) - 0.5)
    for i in range(400):
        with torch_stream(0, "update", i):
            losses = learner.losses(batch, "all").groups
            learner.optimiser.step({"edit": losses["edit"]})
    edited, _ = learner.actor.edit(batch.obs, batch.action, "mean")
    torch.testing.assert_close(edited[:, 0], batch.action[:, 0] + 0.3, atol=0.03, rtol=0)
    expected = batch.action[:, 1] - batch.action[:, 1].clamp(-0.3, 0.3)
    torch.testing.assert_close(edited[:, 1], expected, atol=0.08, rtol=0)


def test_wanted_entropy_is_within_reach_of_edits_of_any_size() -> None:
    """An edit of scale b has at most log 2b nats for each number; what is wanted stays below that."""
    for scale in (0.05, 0.3, 1.0):
        learner: Any = build("expo", SPECS["box"], edit_scale=scale, **SMALL)
        assert learner.temperature.target_entropy == pytest.approx(2 * (math.log(scale) - 0.5))
        assert learner.temperature.target_entropy < 2 * math.log(2 * scale)


def test_without_edits_there_is_no_edit_policy() -> None:
    learner: Any = build("expo", SPECS["box"], edits=0, **SMALL)
    assert set(learner.optimiser.groups) == {"critic", "actor"}
    assert set(learner.losses(batch_of(learner, 0), "all").groups) == {"critic", "actor"}
    assert learner.actor.candidates(torch.zeros(1, 3), 4).shape[1] == 4


def test_it_says_what_it_cannot_do() -> None:
    for scale in (0.0, 1.5):
        with pytest.raises(ActrixError, match="edit-scale") as caught:
            build("expo", SPECS["box"], edit_scale=scale)
        assert caught.value.misuse
