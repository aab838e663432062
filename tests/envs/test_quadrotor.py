"""Quadrotors against closed forms, and N of them against one."""

from __future__ import annotations

import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from torch import Tensor

from actrix.data.batches import Transitions
from actrix.envs import draws, quadrotor
from actrix.envs.make import make_env
from actrix.envs.many import batched, make_worlds
from actrix.envs.quadrotor import (
    ATTITUDE,
    CONSTANTS,
    DT,
    GRAVITY,
    HOVER,
    INERTIA,
    LAG,
    MASS,
    MAX_RPM,
    POSITION,
    PRIVILEGED,
    RPM,
    SPIN,
    STATE,
    VELOCITY,
    HoverVector,
    Quadrotors,
    Ranges,
    Weights,
    advance,
    begin,
    derivative,
    episode,
    reward_at,
    shortest,
)  # fmt: skip
from actrix.envs.worlds import LocalWorlds, VectorWorlds

ID = "actrix.envs.quadrotor:Hover-v0"


def at_rest(n: int = 1, rpm: float = 0.0) -> tuple[Tensor, Tensor]:
    """Level at the origin in double precision, with nominal constants."""
    state, constants = torch.zeros(STATE, n).double(), torch.zeros(CONSTANTS, n).double()
    state[3], state[RPM], constants[:3] = 1.0, rpm, 1.0
    return state, constants


def fly(state: Tensor, action: Tensor, constants: Tensor, steps: int, dt: float = DT) -> Tensor:
    for _ in range(steps):
        state = advance(state, action, constants, dt)
    return state


def tumbling(n: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    state, constants = begin(draws.mix(torch.arange(n)), Ranges(spin=10.0))
    action = draws.uniform(draws.mix(torch.arange(n)), 9, 4) * 2 - 1
    return state.double(), action.double(), constants.double()


# -- physics ---------------------------------------------


def test_the_hover_set_point_holds_altitude() -> None:
    state, constants = at_rest(rpm=(1 + HOVER) / 2 * MAX_RPM)
    end = fly(state, torch.full((4, 1), HOVER, dtype=torch.float64), constants, 300)
    assert abs(HOVER - 0.334) < 5e-4
    assert end[VELOCITY].abs().max() < 1e-9
    assert end[POSITION].abs().max() < 1e-9
    # with float32, as it is flown: less than a centimetre a second
    end = fly(state.float(), torch.full((4, 1), HOVER), constants.float(), 300)
    assert end[VELOCITY].abs().max() < 0.01


def test_free_fall_and_a_push_are_parabolas() -> None:
    state, constants = at_rest()
    constants[3] = 0.005  # N along x
    state[7:10] = torch.tensor([[0.3], [-0.2], [1.0]])
    end, t = fly(state, -torch.ones(4, 1).double(), constants, 80), 80 * DT
    x = 0.3 * t + 0.5 * 0.005 / MASS * t * t
    expected = torch.tensor([x, -0.2 * t, t - 0.5 * GRAVITY * t * t]).double()
    torch.testing.assert_close(end[POSITION, 0], expected)
    torch.testing.assert_close(end[9, 0].item(), 1.0 - GRAVITY * t)


def test_rotors_follow_their_command_exponentially() -> None:
    state, constants = at_rest(rpm=2_000.0)
    constants[2] = 1.3
    action = torch.tensor([[-0.5], [0.0], [0.5], [3.0]]).double()  # the last is clipped
    end = fly(state, action, constants, 30)
    command = (action.clamp(-1, 1) + 1) / 2 * MAX_RPM
    expected = command + (2_000.0 - command) * math.exp(-30 * DT / (1.3 * LAG))
    torch.testing.assert_close(end[RPM], expected, rtol=1e-7, atol=0)


def test_energy_and_angular_momentum_are_conserved_without_thrust() -> None:
    state, _, constants = tumbling()
    state[RPM], constants[3:] = 0.0, 0.0
    inertia = torch.tensor(INERTIA).double()[:, None] * constants[0]

    def conserved(s: Tensor) -> tuple[Tensor, Tensor]:
        mass = MASS * constants[0]
        kinetic = 0.5 * mass * s[VELOCITY].square().sum(0) + 0.5 * (inertia * s[SPIN].square()).sum(0)
        turn = torch.stack(quadrotor.rotation(s[ATTITUDE].unbind(0))).reshape(3, 3, -1)
        return kinetic + mass * GRAVITY * s[2], torch.einsum("ijn,jn->in", turn, inertia * s[SPIN])

    before, after = conserved(state), conserved(fly(state, -torch.ones(4, 8).double(), constants, 50))
    torch.testing.assert_close(after[0], before[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(after[1], before[1], rtol=1e-5, atol=1e-10)


@pytest.mark.parametrize(("rotors", "axis", "sign"), [((2, 3), 0, 1), ((1, 2), 1, 1), ((1, 3), 2, 1), ((0, 2), 2, -1)])
def test_each_pair_of_rotors_turns_the_way_it_should(rotors: tuple[int, ...], axis: int, sign: int) -> None:
    """One pair faster than the other turns the body about one axis, and about no other."""
    state, constants = at_rest(rpm=10_000.0)
    state[[13 + i for i in rotors]] = 12_000.0
    slope = torch.stack(derivative(state.unbind(0), [torch.zeros(1)] * 4, constants.unbind(0)))[SPIN, 0]
    assert slope[axis] * sign > 1.0
    others = [i for i in range(3) if i != axis]
    assert slope[others].abs().max() < 1e-9


def test_runge_kutta_is_of_fourth_order() -> None:
    """Against much smaller steps: half the step leaves about a sixteenth of the error, even of a body that spins."""
    state, action, constants = tumbling()
    exact = fly(state, action, constants, 500, 0.2 / 500)
    errors = [(fly(state, action, constants, n, 0.2 / n) - exact)[:13].abs().max().item() for n in (40, 80)]
    assert errors[0] < 1e-3
    assert 10 < errors[0] / errors[1] < 24


def test_attitudes_stay_of_length_one_and_start_within_the_angle() -> None:
    state, constants = begin(draws.mix(torch.arange(20_000)), Ranges(guidance=0.0))
    action = torch.rand(4, 20_000) * 2 - 1
    angle = 2 * torch.acos(state[3].clamp(-1, 1))
    assert angle.max() <= math.pi / 2 + 1e-3
    # uniform among rotations of at most a right angle: the distribution of the angle is (t - sin t) / (pi/2 - 1)
    for t in (0.5, 1.0, 1.4):
        share = (t - math.sin(t)) / (math.pi / 2 - 1)
        assert (angle < t).float().mean().item() == pytest.approx(share, abs=0.015)
    end = fly(state, action, constants, 50)
    assert (end[ATTITUDE].norm(dim=0) - 1).abs().max() < 1e-5


def test_constants_differ_as_the_ranges_say() -> None:
    ranges = Ranges(mass=0.3, thrust=0.05, lag=0.2, guidance=0.25)
    state, constants = begin(draws.mix(torch.arange(40_000)), ranges)
    for row, width in enumerate((0.3, 0.05, 0.2)):
        assert (constants[row] - 1).abs().max() <= width
        assert constants[row].std().item() == pytest.approx(width / math.sqrt(3), rel=0.02)
    assert constants[3:6].std().item() == pytest.approx(ranges.force, rel=0.02)
    assert constants[6:9].std().item() == pytest.approx(ranges.torque, rel=0.02)
    at_goal = (state[POSITION] == 0).all(0) & (state[3] == 1)
    assert at_goal.float().mean().item() == pytest.approx(0.25, abs=0.01)
    still, _ = begin(draws.mix(torch.arange(3)), Ranges.still())
    assert still[[*range(3), *range(7, 13)]].abs().max() == 0


# -- draws ---------------------------------------------


def test_draws_are_uniform_normal_and_independent() -> None:
    key = draws.mix(torch.arange(50_000))
    u, z = draws.uniform(key, 3, 4), draws.normal(key, 3, 5)
    assert u.min() >= 0
    assert u.max() < 1
    assert (torch.histc(u[1], 20) / 2_500 - 1).abs().max() < 0.1
    assert z.mean(1).abs().max() < 0.02
    assert (z.std(1) - 1).abs().max() < 0.02
    together = torch.cat((u, z, draws.uniform(key, 4, 4), draws.uniform(key + 1, 3, 4)))
    correlation = torch.corrcoef(together) - torch.eye(len(together))
    pairs = correlation.clone()
    pairs[:4, 4:9] = pairs[4:9, :4] = 0  # the same counter feeds both
    assert pairs.abs().max() < 0.025
    assert torch.equal(draws.normal(key[7:8], 3, 5)[:, 0], z[:, 7])


# -- the task ---------------------------------------------


def test_many_do_what_each_would_do_alone() -> None:
    seeds = [3, 11, 12, 500, 7]
    many, obs = HoverVector(5), None
    rng = np.random.default_rng(0)
    together, _ = many.reset(seed=seeds)
    alone = [gym.make(ID) for _ in seeds]
    singles = [env.reset(seed=s)[0] for env, s in zip(alone, seeds)]
    ended = 0
    for _ in range(70):
        for i, obs in enumerate(singles):
            for name, value in obs.items():
                np.testing.assert_allclose(together[name][i], value, rtol=1e-5, atol=1e-6)
        action = rng.uniform(-1, 1, (5, 4)).astype(np.float32)
        together, reward, terminated, truncated, _ = many.step(action)
        done = terminated | truncated
        for i, env in enumerate(alone):
            singles[i], r, end, cut, _ = env.step(action[i])
            assert (end, cut) == (terminated[i], truncated[i])
            assert r == pytest.approx(reward[i], rel=1e-5, abs=1e-5)
            if done[i]:
                singles[i], _ = env.reset()
        if done.any():
            together, _ = many.reset(options={"reset_mask": done})
        ended += done.sum()
    assert ended >= 5


def test_restarting_inside_a_step_begins_the_same_episodes() -> None:
    """The starts that are made ahead are those that a restart would make."""
    n = 200
    one, other = Quadrotors(n), Quadrotors(n)
    for i in range(60):
        action = draws.uniform(torch.arange(n), i, 4) * 2 - 1
        a, b = one.step(action), other.step(action, restart=False)
        for x, y in zip(a, b):
            torch.testing.assert_close(x, y)
        other.restart((b[1] | b[2]).nonzero()[:, 0])
        assert torch.equal(one.key, other.key)
        assert torch.equal(one.clock, other.clock)
        torch.testing.assert_close(one.state, other.state, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(one.constants, other.constants)
    assert (one.clock < 60).any()


def test_no_episode_is_shorter_than_the_starts_last() -> None:
    ranges = Ranges()
    fleet = Quadrotors(20_000, ranges=ranges)
    fleet.state[POSITION], fleet.state[VELOCITY] = ranges.position, ranges.velocity
    over = torch.zeros(20_000, dtype=torch.bool)
    for _ in range(shortest(ranges)):
        over |= fleet.step(torch.ones(4, 20_000), restart=False)[1]
    assert not over.any()
    assert shortest(ranges) >= 5


def test_an_episode_is_cut_off_after_its_time() -> None:
    fleet = Quadrotors(3, ranges=Ranges.still())
    for i in range(quadrotor.LIMIT):
        _, terminated, truncated = fleet.step(torch.full((4, 3), HOVER))
        assert not terminated.any()
        assert truncated.all() == (i == quadrotor.LIMIT - 1)
    assert (fleet.clock == 0).all()


def test_reward_is_that_of_the_stored_row() -> None:
    """`reward_at(0)` of a transition is what `step` returned; later stages are dearer by their own weights."""
    env = HoverVector(50)
    obs, _ = env.reset(seed=0)
    rows = lambda o: torch.from_numpy(np.concatenate([o[k] for k in sorted(o)], 1))  # noqa: E731
    seen = 0
    for _ in range(60):
        action = np.random.default_rng(seen).uniform(-1, 1, (50, 4)).astype(np.float32)
        after, reward, terminated, truncated, _ = env.step(action)
        flags = torch.from_numpy(terminated), torch.from_numpy(truncated)
        batch = Transitions(rows(obs), torch.from_numpy(action), torch.from_numpy(reward), rows(after), *flags)
        torch.testing.assert_close(reward_at(0)(batch), batch.reward, rtol=1e-4, atol=1e-5)
        assert (reward_at(0)(batch)[flags[0]] == 0).all()
        w, s = Weights.at(2), env.fleet.state
        cost = w.position * s[:3].square().sum(0) + 5 * (1 - s[3] ** 2) + w.velocity * s[7:10].square().sum(0)
        cost += w.action * (batch.action - HOVER).square().sum(1)
        torch.testing.assert_close(reward_at(2)(batch), torch.where(flags[0], 0, 2 - cost / 2), rtol=1e-4, atol=1e-5)
        seen += terminated.sum()
        obs = after if not terminated.any() else env.reset(options={"reset_mask": terminated})[0]
    assert seen > 10
    assert Weights.at(2).position == pytest.approx(7.2)
    assert Weights.at(100) == Weights(40.0, 5.0, 1.0, 1.0)


def test_history_is_the_last_actions_and_starts_at_the_rotors() -> None:
    env = HoverVector(3, history=4)
    obs, _ = env.reset(seed=1)
    told = env.fleet.state[RPM].T / MAX_RPM * 2 - 1
    np.testing.assert_allclose(obs["history"].reshape(3, 4, 4), told[:, None].expand(3, 4, 4), atol=1e-6)
    taken = np.random.default_rng(0).uniform(-1, 1, (6, 3, 4)).astype(np.float32)
    for action in taken:
        obs, *_ = env.step(action)
    np.testing.assert_array_equal(obs["history"].reshape(3, 4, 4), taken[-4:].transpose(1, 0, 2))


def test_privileges_are_the_truth_and_observations_are_noisy() -> None:
    env = HoverVector(5_000)
    obs, _ = env.reset(seed=4)
    error = obs["observation"] - obs["privileged"][:, :18]
    np.testing.assert_allclose(error.std(0), quadrotor.NOISE, rtol=0.05)
    fleet = env.fleet
    np.testing.assert_allclose(obs["privileged"][:, :3], fleet.state[POSITION].T, atol=1e-7)
    np.testing.assert_allclose(obs["privileged"][:, 24:28] * MAX_RPM / 2 + MAX_RPM / 2, fleet.state[RPM].T, atol=0.1)
    assert obs["privileged"].shape[1] == PRIVILEGED
    assert np.abs(obs["privileged"][:, 28:]).max() <= 1 + 1e-5


# -- the door ---------------------------------------------


def test_worlds_step_them_together_or_one_by_one_alike() -> None:
    offer = batched(ID)
    assert offer is not None
    assert batched("Pendulum-v1") is None
    assert batched("CartPole-v1") is None
    one: VectorWorlds = make_worlds(ID, 3, vector="batched")  # type: ignore[assignment]
    other = LocalWorlds([lambda: make_env(ID)] * 3, ID)
    assert isinstance(one, VectorWorlds)
    assert one.spec == other.spec
    assert [(p.name, p.privileged) for p in one.spec.obs] == [
        ("obs.history", False), ("obs.observation", False), ("obs.privileged", True),
    ]  # fmt: skip
    seeds = [5, 6, 7]
    np.testing.assert_allclose(one.reset(seeds)[0], other.reset(seeds)[0], rtol=1e-5, atol=1e-6)
    rng = np.random.default_rng(0)
    episodes = 0
    for _ in range(90):
        action = rng.uniform(-1, 1, (3, 4)).astype(np.float32)
        a, b = one.step(action), other.step(action)
        for name in ("obs", "next_obs", "reward", "terminated", "truncated"):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-4, atol=1e-4)
        assert a.valid.all()
        episodes += len(a.episodes)
    assert episodes >= 3
    one.close()


@pytest.mark.slow
def test_compiled_steps_are_the_same_steps() -> None:
    state, constants = begin(draws.mix(torch.arange(2_048)), Ranges())
    action, key, clock = torch.rand(4, 2_048) * 2 - 1, torch.arange(2_048), torch.full((2_048,), 498)
    fresh = begin(draws.mix(key + 1), Ranges())
    fast = torch.compile(episode, fullgraph=True, dynamic=False)
    for _ in range(3):
        a = episode(state, constants, key, clock, fresh, action)
        b = fast(state, constants, key, clock, fresh, action)
        for x, y in zip(a, b):
            torch.testing.assert_close(x, y, rtol=1e-4, atol=1e-4)
        state, constants, key, clock = b[:4]
