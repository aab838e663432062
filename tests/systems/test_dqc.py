"""DQC: optimism over continuations, targets, goals that the actor does not see, and the baselines within it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from test_contracts import SPECS, batch_of, build, make_constant
from torch import Tensor

from actrix.data.batches import Transitions
from actrix.errors import ActrixError
from actrix.objectives import success
from actrix.rng import torch_stream
from actrix.spec import Box, Part, Spec

GOALS = Spec(
    (Part("achieved_goal", 0, 2, (2,)), Part("desired_goal", 2, 4, (2,)), Part("observation", 4, 5, (1,))),
    Box(1, (1,), (-1.0,), (1.0,)),
)


def settled(level: float, form: str, values: Tensor) -> float:
    """Where the gradient of the loss against these probabilities changes its sign."""
    grid = torch.linspace(0.0005, 0.9995, 1_000)
    logit = torch.logit(grid)[:, None].expand(-1, len(values)).clone().requires_grad_()
    slope = torch.autograd.grad(success(logit, values, level, form=form), logit)[0].sum(1)
    return grid[(slope > 0).int().argmax()].item()


def test_success_is_an_expectile_or_a_quantile() -> None:
    values = torch.tensor([0.1, 0.2, 0.3, 0.9])
    assert settled(0.5, "expectile", values) == pytest.approx(values.mean().item(), abs=2e-3)
    for level in (0.7, 0.9):
        q = settled(level, "expectile", values)
        lean = torch.where(values < q, 1 - level, level)
        assert (lean * (values - q)).sum().item() == pytest.approx(0, abs=4e-3)
    assert settled(0.9, "quantile", values) == pytest.approx(0.9, abs=2e-3)
    assert 0.1 <= settled(0.3, "quantile", values) <= 0.2 + 2e-3
    members = torch.stack((torch.zeros(4), torch.ones(4)))
    expected = sum(torch.nn.functional.binary_cross_entropy_with_logits(m, values) for m in members)
    torch.testing.assert_close(success(members, values), expected)
    weighed = success(members, values, weight=torch.tensor([1.0, 0, 0, 0]))
    torch.testing.assert_close(weighed, success(members[:, :1], values[:1]) / 4)


def completions(level: float) -> float:
    """What the partial critic says of a first action that two chunks share, one of which succeeds: [0.9, 0.1]."""
    learner: Any = build("dqc", SPECS["box"], chunk=1, backup=2, distilled=level, rate=1e-2, samples=1)
    n = 64
    obs, first = torch.zeros(n, 3), torch.zeros(n, 2)
    second = torch.where(torch.arange(n)[:, None] % 2 == 0, 1.0, -1.0).expand(n, 2)
    reward, over = torch.where(torch.arange(n) % 2 == 0, 0.9, 0.1), torch.ones(n, dtype=torch.bool)
    batch = Transitions(obs, torch.cat((first, second), 1), reward, obs, over, ~over)
    for i in range(250):
        with torch_stream(0, "update", i):
            learner.update(batch)
    judged = learner.critic(obs[:2], batch.action[:2]).members.sigmoid().mean(0)
    torch.testing.assert_close(judged, torch.tensor([0.9, 0.1]), atol=0.03, rtol=0)
    return learner.partial(obs[:1], first[:1]).members.sigmoid().mean().item()


def test_the_partial_critic_believes_in_the_best_continuation() -> None:
    assert completions(0.5) == pytest.approx(0.5, abs=0.04)
    assert completions(0.8) == pytest.approx(0.74, abs=0.04)  # 0.8 (0.9 - q) = 0.2 (q - 0.1)
    assert completions(0.99) == pytest.approx(0.89, abs=0.05)


def test_targets_are_probabilities_of_success() -> None:
    learner: Any = build("dqc", SPECS["box"], discount=0.9)
    batch = batch_of(learner, 0)[:3]
    flags = torch.tensor([True, False, False])
    batch = dataclasses.replace(batch, terminated=flags, reward=torch.tensor([0.81, 0.0, 0.0]))
    make_constant(learner.value, 0.0)
    expected = torch.tensor([0.81, 0.5 * 0.9**3, 0.5 * 0.9**3])
    torch.testing.assert_close(learner.backed_up(batch), expected)
    torch.testing.assert_close(learner.backed_up(dataclasses.replace(batch, reward=batch.reward + 2)), torch.ones(3))
    rows = dataclasses.replace(batch_of(learner, 0), valid=torch.arange(32) < 8)
    groups = learner.losses(rows).groups
    first = learner.losses(dataclasses.replace(rows[:8], valid=None)).groups
    for name in ("critic", "partial", "value"):
        torch.testing.assert_close(groups[name] * 4, first[name])


def test_the_actor_does_not_see_the_goal_and_the_critics_do() -> None:
    learner: Any = build("dqc", GOALS, chunk=1, backup=3, samples=4)
    torch.manual_seed(0)
    obs = torch.randn(6, 5)
    other = obs.clone()
    other[:, 2:4] += 1
    part, whole = torch.rand(6, 1), torch.rand(6, 3)
    with torch.no_grad():
        assert torch.equal(learner.actor.candidates(obs, 4, "mean"), learner.actor.candidates(other, 4, "mean"))
        for net, action in ((learner.partial, part), (learner.critic, whole)):
            assert not torch.allclose(net(obs, action).members, net(other, action).members)
        assert not torch.allclose(learner.value(obs), learner.value(other))


@pytest.mark.parametrize("ensemble", ["mean", "min"])
def test_it_plays_the_proposal_that_its_critics_like_best(ensemble: str) -> None:
    learner: Any = build("dqc", SPECS["box"], chunk=2, backup=3, samples=8, ensemble=ensemble)
    obs = torch.randn(5, 3)
    with torch.no_grad():
        found = learner.actor.candidates(obs, 8, "mean")
        score = torch.stack([learner.partial(obs, found[:, k]).members for k in range(8)], -1)
        best = (score.mean(0) if ensemble == "mean" else score.amin(0)).argmax(-1)
        plan = learner.plan(obs, "mean")
    torch.testing.assert_close(plan.flatten(1), found[torch.arange(5), best])
    assert plan.shape == (5, 2, 2)
    assert torch.equal(learner.act(obs, "mean").action, plan[:, 0])


def test_without_distillation_it_is_q_chunking() -> None:
    learner: Any = build("dqc", SPECS["box"], chunk=3, backup=3, distil=False)
    assert set(learner.optimiser.groups) == {"partial", "value", "actor"}
    batch = batch_of(learner, 0)
    expected = success(learner.partial(batch.obs, batch.action).members, learner.backed_up(batch))
    torch.testing.assert_close(learner.losses(batch).groups["partial"], expected)


def test_bootstraps_from_the_value_itself_and_the_value_from_a_target() -> None:
    learner: Any = build("dqc", SPECS["box"])
    batch = batch_of(learner, 0)
    before = learner.losses(batch).groups
    make_constant(learner.target_partial, 3.0)
    after = learner.losses(batch).groups
    assert after["value"] != before["value"]
    assert after["critic"] == before["critic"]
    make_constant(learner.value, 3.0)
    assert learner.losses(batch).groups["critic"] != before["critic"]


def test_settings_that_make_no_sense_are_refused() -> None:
    for settings, says in (
        ({"chunk": 4, "backup": 3}, "--chunk must be at least 1 and at most --backup 3, not 4"),
        ({"ensemble": "max"}, "--ensemble is mean or min"),
        ({"value_form": "mode"}, "--value-form is"),
    ):
        with pytest.raises(ActrixError, match=says):
            build("dqc", SPECS["box"], **settings)
