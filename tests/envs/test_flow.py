"""Quadrotors whose steps let gradients through: the same task as without, and the right gradients."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from torch import Tensor

from actrix.envs.make import make_env
from actrix.envs.quadrotor import HOVER, LIMIT, HoverFlow, HoverVector, Ranges, leg
from actrix.envs.worlds import VectorWorlds

HISTORY = 3


def flow(n: int, **kwargs: float) -> HoverFlow:
    return HoverVector(n, HISTORY, Ranges(**kwargs)).flow(n)


def test_it_does_what_the_vector_environment_does() -> None:
    """Through falls out of the box, new starts and a time limit."""
    env = HoverVector(6, HISTORY, Ranges())
    worlds, twin = VectorWorlds(env, "hover"), env.flow(6)
    seeds = [3, 1, 4, 1, 5, 9]
    np.testing.assert_array_equal(worlds.reset(seeds)[0], twin.reset(seeds))
    rng = np.random.default_rng(0)
    ends = 0
    with torch.no_grad():
        for t in range(140):
            action = np.float32(rng.normal(HOVER, 0.6, (6, 4)))
            if t == 60:  # as if they had flown for a while: three are about to be stopped
                env.fleet.clock[:3] += LIMIT - 70
                twin.clock[:3] += LIMIT - 70
            out, moved = worlds.step(action), twin.step(torch.from_numpy(action))
            np.testing.assert_allclose(out.next_obs, moved.next_obs, atol=1e-5)
            np.testing.assert_allclose(out.obs, moved.obs, atol=1e-5)
            np.testing.assert_allclose(out.reward, moved.reward, atol=1e-5)
            np.testing.assert_array_equal(out.terminated, moved.terminated)
            np.testing.assert_array_equal(out.truncated, moved.truncated)
            ends += int((out.terminated | out.truncated).sum())
    assert ends > 10


def test_the_gradient_of_a_step_is_that_of_finite_differences() -> None:
    twin = flow(2)
    twin.reset([0, 1])
    starts = twin._starts(twin.key + 1)
    state, constants = twin.state.double(), twin.constants.double()
    # rotor speeds are thousands, and one of them moves little: perturb in units of each row
    unit = torch.ones(17, 1, dtype=torch.float64)
    unit[13:] = 1e4

    def step(relative: Tensor, past: Tensor, action: Tensor) -> tuple[Tensor, ...]:
        out = leg(relative * unit, constants, twin.key, twin.clock, past, starts, action, twin.ranges)
        return out[0] / unit, out[5], out[6]

    past = twin.row[:, : twin.past].double()
    action = torch.full((2, 4), HOVER, dtype=torch.float64) + 0.1 * torch.randn(2, 4, dtype=torch.float64)
    inputs = tuple(x.detach().requires_grad_() for x in (state / unit, past, action))
    assert torch.autograd.gradcheck(step, inputs, eps=1e-6, atol=1e-6, rtol=1e-4)


def test_a_new_start_owes_nothing_to_the_past() -> None:
    """Two stand at the edge and leave: the gradient of what comes after reaches only the third's actions."""
    twin = flow(3, guidance=1.0)
    twin.reset([0, 1, 2])
    twin.state[0, :2] = 0.6
    twin.state[7, :2] = 5.0  # m/s, outwards
    twin.cut()
    first = torch.full((3, 4), HOVER, requires_grad=True)
    assert twin.step(first).terminated.tolist() == [True, True, False]
    later = twin.step(torch.full((3, 4), HOVER))
    (slope,) = torch.autograd.grad(later.next_obs.square().sum() + later.reward.sum(), first)
    assert (slope[:2] == 0).all()
    assert (slope[2] != 0).all()


def test_cut_forgets() -> None:
    twin = flow(1)
    twin.reset([0])
    twin.cut()
    first = torch.full((1, 4), HOVER, requires_grad=True)
    twin.step(first)
    twin.cut()
    after = twin.step(torch.full((1, 4), HOVER))
    assert torch.autograd.grad(after.reward.sum(), first, allow_unused=True) == (None,)


def test_the_environment_offers_it_with_its_own_settings() -> None:
    env = make_env("actrix.envs.quadrotor:Hover-v0", history=2).unwrapped
    twin = env.flow(5)  # type: ignore[attr-defined]
    assert twin.reset(range(5)).shape == (5, 8 + 18 + 31)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs a C++ compiler")
def test_compiled_is_the_same() -> None:
    def gone(compile: bool) -> list[Tensor]:
        torch._dynamo.reset()
        twin = HoverFlow(8, HISTORY, Ranges(), compile)
        twin.reset(range(8))
        twin.cut()
        first = torch.full((8, 4), HOVER, requires_grad=True)
        action, total = first, torch.zeros(())
        for _ in range(25):
            moved = twin.step(action)
            total = total + moved.reward.sum()
            action = HOVER + 0.1 * moved.obs[:, 12:16]
        return [moved.next_obs.detach(), moved.reward.detach(), *torch.autograd.grad(total, first)]

    for found, expected in zip(gone(True), gone(False)):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
