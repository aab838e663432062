"""Generative actors: what they learn, how they act, and how they play chunks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from actrix.actors.candidates import select
from actrix.actors.generative import Generative
from actrix.errors import ActrixError
from actrix.nets.processes import EDM, Diffusion, Flow, NoiseProcess
from actrix.spec import Box, Choices, vector_spec

PROCESSES = {"diffusion": lambda: Diffusion(10), "edm": lambda: EDM(), "flow": lambda: Flow()}


def actor_of(process: NoiseProcess | None = None, **settings: Any) -> Generative:
    torch.manual_seed(0)
    return Generative(vector_spec(3, 2), (32, 32), process or Flow(), **settings)


@pytest.mark.parametrize("name", PROCESSES)
def test_it_learns_both_modes_and_which_observation_has_which(name: str) -> None:
    """Where the observation is 0, the action is left or right; where it is 1, up."""
    torch.manual_seed(0)
    actor = Generative(vector_spec(1, 2), (64, 64), PROCESSES[name](), steps=10, clip=1.0)
    optimiser = torch.optim.Adam(actor.parameters(), 1e-2)
    side = torch.tensor([[-0.7, 0.0], [0.7, 0.0]])
    for _ in range(700):
        obs = torch.randint(2, (256, 1)).float()
        action = torch.where(obs > 0, torch.tensor([0.0, 0.8]), side[(torch.rand(256) < 0.3).long()])
        optimiser.zero_grad()
        actor.imitate(obs, action + 0.05 * torch.randn(256, 2)).backward()
        optimiser.step()
    with torch.no_grad():
        made = actor.candidates(torch.tensor([[0.0], [1.0]]), 1_000)
    right = made[0, :, 0] > 0
    assert right.float().mean().item() == pytest.approx(0.3, abs=0.12)
    assert (made[0, :, 0].abs() > 0.35).float().mean() > 0.9, "little lies between"
    torch.testing.assert_close(made[0][right].mean(0), side[1], atol=0.1, rtol=0)
    torch.testing.assert_close(made[1].mean(0), torch.tensor([0.0, 0.8]), atol=0.06, rtol=0)


def test_weights_choose_what_is_imitated() -> None:
    actor, obs = actor_of(), torch.zeros(64, 3)
    action = torch.rand(64, 2) * 2 - 1

    def loss(rows: slice, weight: Tensor | None) -> Tensor:
        torch.manual_seed(1)
        noised = actor.process.pairs(action)
        error = (actor.field(obs, noised.noisy, noised.time) - noised.target).square().mean(-1)[rows]
        return (error if weight is None else error * weight[rows]).mean()

    weight = torch.rand(64)
    torch.manual_seed(1)
    torch.testing.assert_close(actor.imitate(obs, action, weight), loss(slice(None), weight))
    half = torch.cat((torch.full((32,), 2.0), torch.zeros(32)))
    torch.manual_seed(1)
    torch.testing.assert_close(actor.imitate(obs, action, half), loss(slice(32), None))


def test_mode_mean_is_a_function_of_the_observation_and_sampling_is_not() -> None:
    actor, obs = actor_of(), torch.randn(5, 3)
    with torch.no_grad():
        first = actor.act(obs, "mean").action
        assert torch.equal(actor.act(obs, "mean").action, first)
        torch.testing.assert_close(actor.act(obs[2:3], "mean").action, first[2:3])
        assert not torch.equal(actor.act(obs).action, actor.act(obs).action)
        assert not torch.equal(actor.exploit(obs)[0].action, actor.exploit(obs)[0].action), "evaluation samples"
        many = actor.candidates(obs, 1, "mean")
        torch.testing.assert_close(many[:, 0], first)
        copy = actor_of()
        copy.load_state_dict(actor.state_dict())
        assert torch.equal(copy.act(obs, "mean").action, first), "the noise is saved with the weights"


def test_candidates_are_drawn_for_their_own_observation() -> None:
    actor, obs = actor_of(samples=4), torch.randn(5, 3)
    with torch.no_grad():
        made = actor.candidates(obs, 4, "mean")
        for k in range(4):
            alone = actor.sample(obs, actor.latents[k].expand(5, 2))
            torch.testing.assert_close(made[:, k], alone)
    assert made.abs().max() <= 1


def test_a_guide_is_given_the_observations() -> None:
    actor, obs, seen = actor_of(), torch.randn(3, 3), []

    def guide(rows: Tensor, noisy: Tensor, clean: Tensor, time: float) -> Tensor:
        seen.append(time)
        assert torch.equal(rows, obs.repeat_interleave(2, 0))
        return 100.0 * rows[:, :1].sign().expand(-1, 2)

    with torch.no_grad():
        made = actor.candidates(obs, 2, guide=guide)
    assert len(seen) == 10
    assert torch.equal(made, obs[:, None, :1].sign().expand(3, 2, 2)), "pushed to the bounds, and no further"


def test_a_chunk_is_played_to_its_end_and_then_decided_again() -> None:
    actor = actor_of(chunk=3)
    decided: list[Tensor] = []
    actor.planner = lambda obs, mode: decided.append(obs) or torch.arange(6.0).expand(len(obs), 6) + obs[:, :1]  # type: ignore[func-returns-value]
    memory, played = None, []
    for t in range(7):
        action, memory = actor.exploit(torch.full((2, 3), 10.0 * t), None, memory)
        played.append(action.action[0].tolist())
    assert played == [[0, 1], [2, 3], [4, 5], [30, 31], [32, 33], [34, 35], [60, 61]]
    assert [obs[0, 0].item() for obs in decided] == [0, 30, 60]
    assert actor.act(torch.ones(2, 3)).action.tolist() == [[1, 2], [1, 2]], "without memory, the first of a new chunk"


def test_a_chunk_ends_with_its_episode() -> None:
    """Environments play at their own pace: who begins an episode decides anew, the others play on."""
    actor = actor_of(chunk=3)
    asked: list[list[float]] = []
    actor.planner = lambda obs, mode: asked.append(obs[:, 0].tolist()) or torch.arange(6.0).repeat(len(obs), 1)  # type: ignore[func-returns-value]
    memory, played = None, []
    for t in range(6):
        action, memory = actor.explore(torch.full((2, 3), float(t)) + torch.tensor([[0.0], [100.0]]), None, memory)
        played.append(action.action[:, 0].tolist())
        if t == 1:
            memory = actor.forget(memory, torch.tensor([False, True]))
    assert played == [[0, 0], [2, 2], [4, 0], [0, 2], [2, 4], [4, 0]]
    assert asked == [[0, 100], [102], [3], [105]]
    assert actor.forget(None, torch.tensor([True, True])) is None


def test_a_plan_is_what_is_played() -> None:
    actor, obs = actor_of(chunk=3), torch.randn(4, 3)
    with torch.no_grad():
        plan = actor.plan(obs, "mean")
        assert plan.shape == (4, 3, 2)
        assert torch.equal(plan[:, 0], actor.act(obs, "mean").action)
        assert torch.equal(plan.flatten(1), actor.candidates(obs, 1, "mean")[:, 0])
        torch.manual_seed(1)
        plan, memory, played = actor.plan(obs), None, []
        torch.manual_seed(1)
        for _ in range(3):
            action, memory = actor.exploit(obs, None, memory)
            played.append(action.action)
    assert torch.equal(torch.stack(played, 1), plan)


@pytest.mark.parametrize(
    "action", [Box(2, (2,), None, None), Choices((4,), "discrete", (0,))], ids=["unbounded", "choices"]
)
def test_other_spaces_are_refused(action: Any) -> None:
    with pytest.raises(ActrixError, match="boxes with bounds"):
        Generative(vector_spec(3, action), (8,), Flow())


def test_selection_takes_the_best_or_draws_by_score() -> None:
    candidates = torch.arange(2 * 3 * 2.0).reshape(2, 3, 2)
    score = torch.tensor([[0.0, 2.0, 1.0], [5.0, 5.0, 1.0]])
    assert select(candidates, score).tolist() == [[2.0, 3.0], [6.0, 7.0]]
    torch.manual_seed(0)
    many = select(candidates[:1].expand(20_000, 3, 2), score[:1].expand(20_000, 3), "sample", temperature=0.5)
    share = torch.stack([(many[:, 0] == x).float().mean() for x in (0.0, 2.0, 4.0)])
    torch.testing.assert_close(share, (score[0] / 0.5).softmax(0), atol=0.01, rtol=0)
    with pytest.raises(ActrixError, match="max or sample"):
        select(candidates, score, "min")
