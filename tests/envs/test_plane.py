"""The worlds on a plane against closed forms, brute force and each other."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actrix.claims.recordings import written
from actrix.data.datasets import Dataset
from actrix.data.formats import recording
from actrix.envs import plane as worlds
from actrix.envs.make import make_env
from actrix.envs.many import make_worlds
from actrix.envs.plane import (
    BODIES,
    COLOURS,
    DAMPING,
    FORCE,
    LEVELS,
    PUSHED,
    RADIUS,
    REACH,
    SPEED,
    Level,
    Omnis,
    Plane,
    PointMazes,
    Pushers,
    grown,
    move,
)
from actrix.envs.routes import Expert, Paths, recorded, sees
from actrix.envs.spaces import Maps
from actrix.envs.worlds import LocalWorlds
from actrix.errors import ActrixError

IDS = [name for name, spec in gym.registry.items() if str(spec.entry_point).startswith("actrix.envs.plane")]
KINDS = {"PointMaze": PointMazes, "Pusher": Pushers, "Omni": Omnis}


def inside(place: np.ndarray, walls: np.ndarray) -> np.ndarray:
    """Whether points are in the interior of a box: [..., 2], [W, 4] -> [...]."""
    x, y = place[..., 0, None], place[..., 1, None]
    return ((x > walls[:, 0]) & (x < walls[:, 2]) & (y > walls[:, 1]) & (y < walls[:, 3])).any(-1)


# -- levels ---------------------------------------------


@pytest.mark.parametrize("name", LEVELS)
def test_walls_cover_the_wall_cells_and_nothing_else(name: str) -> None:
    level = LEVELS[name]
    side = 10 * len(level.rows)  # ten points a cell
    middle = (np.arange(side) + 0.5) * 2 / side - 1
    points = np.stack(np.meshgrid(middle, -middle), -1)
    cells = np.array([[mark == "#" for mark in row] for row in level.rows]).repeat(10, 0).repeat(10, 1)
    np.testing.assert_array_equal(inside(points, level.walls), cells)
    assert inside(np.array([[1.01, 0.0], [0.0, -1.01]]), level.walls).all()


# -- motion ---------------------------------------------


@pytest.mark.parametrize("control", ["velocity", "force"])
def test_motion_in_the_open_is_the_closed_form(control: str) -> None:
    world = PointMazes(2, control=control)
    start = world.bodies[:, 0].copy()
    action = np.array([[0.5, 0.25], [0.3, -0.7]])
    for t in range(1, 6):
        world.step(action)
        if control == "velocity":
            gone = SPEED * t * action
        else:  # v_t = FORCE a (1 - D^t) / (1 - D), and p_t its sum
            d = DAMPING
            gone = FORCE * action / (1 - d) * (t - d * (1 - d**t) / (1 - d))
            np.testing.assert_allclose(world.speed, FORCE * action * (1 - d**t) / (1 - d), rtol=1e-12)
        np.testing.assert_allclose(world.bodies[:, 0], start + gone, rtol=1e-12)


def test_a_wall_stops_one_axis_and_its_velocity() -> None:
    world = PointMazes(1, level="corridors", control="force")  # the block is right of the start
    y = world.bodies[0, 0, 1]
    for _ in range(30):
        world.step([[1.0, 0.2]])
    face = grown(LEVELS["corridors"].walls, RADIUS)[4, 0]
    assert world.bodies[0, 0, 0] == face
    assert world.speed[0, 0] == 0
    assert world.speed[0, 1] == pytest.approx(0.2 * SPEED, rel=1e-2)
    assert world.bodies[0, 0, 1] > y + 0.3


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["corridors", "maze", "trap"]),
    st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1, max_size=25),
    st.sampled_from([1.0, 1e-9, 0.37]),
)
def test_no_step_leads_into_or_through_a_wall(name: str, steps: list[tuple[float, float]], scale: float) -> None:
    """However long: every piece of the way, looked at in 300 points, stays outside of all walls."""
    level = LEVELS[name]
    walls = grown(level.walls, RADIUS)
    core = grown(walls, -1e-12)  # points between are computed, and so rounded
    here = level.find("S")
    for step in steps:
        there = move(here, np.array([step]) * scale, walls)
        assert not inside(there, walls).any()
        elbow = np.array([[there[0, 0], here[0, 1]]])
        part = np.linspace(0, 1, 300)[:, None]
        way = np.concatenate((here + part * (elbow - here), elbow + part * (there - elbow)))
        assert not inside(way, core).any()
        here = there


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=5, max_size=60), st.integers(0, 1000))
def test_discs_never_overlap_nor_enter_walls(actions: list[tuple[float, float]], seed: int) -> None:
    world = Pushers(1, level="pillar")
    world.reset(seed=[seed])
    # by the pillar and beside the disc, where it soon pushes
    world.bodies[0] = [[-0.5, 0.0], [-0.5 + RADIUS + PUSHED, 0.0]]
    for action in actions:
        world.step([action])
        hand, disc = world.bodies[0]
        assert np.hypot(*(hand - disc)) >= RADIUS + PUSHED - 1e-8
        assert not inside(hand, grown(world.walls, RADIUS))
        assert not inside(disc, grown(world.walls, PUSHED))


def test_a_pushed_disc_goes_along_the_line_of_the_centres() -> None:
    world = Pushers(1)
    world.bodies[0] = [[-0.5, 0.0], [-0.3, 0.0]]
    for _ in range(6):
        world.step([[0.5, 0.0]])
    np.testing.assert_allclose(world.bodies[0, 1], [-0.2 + RADIUS + PUSHED, 0.0], atol=1e-12)
    world.bodies[0] = [[0.0, 0.0], [RADIUS + PUSHED, 0.03]]  # a little above: it is pushed upwards too
    before = world.bodies[0, 1] - world.bodies[0, 0]
    world.step([[0.2, 0.0]])
    gone = world.bodies[0, 1] - [RADIUS + PUSHED, 0.03]
    assert gone[0] > 0 < gone[1]
    assert gone[1] / gone[0] == pytest.approx(before[1] / before[0], rel=0.2)
    world.bodies[0] = [[1 - PUSHED - RADIUS - PUSHED - 0.01, 0.0], [1 - PUSHED, 0.0]]  # against the wall
    world.step([[1.0, 0.0]])
    np.testing.assert_allclose(world.bodies[0, :, 0], [1 - 2 * PUSHED - RADIUS, 1 - PUSHED], atol=1e-8)


# -- episodes ---------------------------------------------


def test_reward_comes_once_at_the_goal_and_time_is_cut_off() -> None:
    world = PointMazes(2, limit=20)
    world.reset(seed=[0, 1])
    paid, ends = np.zeros(2), []
    for _ in range(20):
        far = np.hypot(*(world.bodies[0, 0] - world.goal[0]))
        _, reward, terminated, truncated, info = world.step([[1.0, 0.0], [0.0, 0.0]])
        paid += reward
        ends.append((terminated.copy(), truncated.copy()))
        assert terminated[0] == (np.hypot(*(world.bodies[0, 0] - world.goal[0])) <= REACH) == info["success"][0]
        if terminated[0]:
            break
        assert far > REACH
    assert paid.tolist() == [1.0, 0.0]
    for _ in range(20 - len(ends)):
        _, _, terminated, truncated, _ = world.step(np.zeros((2, 2)))
    assert truncated.tolist() == [False, True]
    assert terminated.tolist() == [True, False]


def test_a_toll_is_paid_at_every_step() -> None:
    world = PointMazes(30, level="corridors", toll=0.01)
    for e in recorded(world, Expert(world), 30):
        assert e.terminated
        assert sum(e.reward) == pytest.approx(1 - 0.01 * len(e.reward), abs=1e-5)


def test_steps_slip_by_at_most_so_much_either_way() -> None:
    plane = PointMazes(400, level="open", slip=0.05)
    plane.reset(seed=0)
    off = []
    for _ in range(5):
        before = plane.bodies[:, 0].copy()
        plane.step(np.full((400, 2), 0.3))
        off.append(plane.bodies[:, 0] - before - 0.3 * SPEED)
    found = np.array(off)
    assert abs(found).max() <= 0.05 + 1e-12
    assert abs(found).max() > 0.049
    assert abs(found.mean()) < 0.002
    assert found.std() == pytest.approx(0.05 / 3**0.5, rel=0.05)
    assert abs(np.corrcoef(found[0, :, 0], found[1, :, 0])[0, 1]) < 0.15


def test_parts_are_those_of_a_goal_environment() -> None:
    plane = PointMazes(3, level="rooms", sees="parts", control="force", goal="seen")
    plane.reset(seed=0)
    obs = plane.step(np.full((3, 2), -1.0))[0]
    np.testing.assert_array_equal(obs["achieved_goal"], plane.bodies[:, 0].astype(np.float32))
    np.testing.assert_array_equal(obs["desired_goal"], plane.goal.astype(np.float32))
    np.testing.assert_allclose(obs["observation"][:, 2:] * SPEED, plane.speed, atol=1e-7)
    np.testing.assert_array_equal(obs["observation"][:, :2], obs["achieved_goal"])
    assert plane.observation_space.contains(obs)
    assert len(LEVELS["rooms"].find("G")) == 5


def test_omni_pays_for_rest_and_says_where_it_went() -> None:
    world = Omnis(3)
    obs, _ = world.reset(seed=[1, 2, 3])
    action = np.array([[0.0, 0.0], [1.0, -1.0], [0.6, 0.8]])
    total = np.zeros(3)
    for t in range(50):
        obs, reward, terminated, truncated, info = world.step(action)
        np.testing.assert_allclose(reward, 1 - (action**2).sum(1) / 2, atol=1e-6)
        assert not terminated.any()
        assert truncated.all() == (t == 49)
        total += reward
    np.testing.assert_allclose(info["descriptor"], (obs[:, :2] + 1) / 2, atol=1e-6)
    assert total.min() >= 0
    assert np.abs(obs[0, :2]).max() <= worlds.SPREAD + 1e-6
    # upwards is a pocket: the top half is not reached by going there
    assert obs[2, 1] < 0.5


@pytest.mark.parametrize("name", IDS)
def test_many_do_what_each_would_do_alone_to_the_bit(name: str) -> None:
    one, other = (
        make_worlds(f"actrix.envs.plane:{name}", 5, vector="batched"),
        LocalWorlds([lambda: make_env(f"actrix.envs.plane:{name}")] * 5, name),
    )
    assert one.spec == other.spec
    seeds = [5, 6, 7, 8, 2**31 - 1]
    np.testing.assert_array_equal(one.reset(seeds)[0], other.reset(seeds)[0])
    rng = np.random.default_rng(0)
    ended = 0
    for t in range(60):
        drift = np.sin([0.2 * t, 0.3 * t])
        action = (drift + rng.uniform(-0.5, 0.5, (5, 2))).astype(np.float32)
        a, b = one.step(action), other.step(action)
        for field in ("obs", "next_obs", "reward", "terminated", "truncated"):
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
        ended += len(a.episodes)
    if name.startswith("Omni"):
        assert ended == 5


@pytest.mark.parametrize("kind", KINDS)
def test_a_snapshot_brings_back_everything(kind: str) -> None:
    env = getattr(worlds, kind)(render_mode="rgb_array")
    env.reset(seed=3)
    rng = np.random.default_rng(1)
    actions = rng.uniform(-1, 1, (40, 2))
    for action in actions[:10]:
        env.step(action)
    kept = env.snapshot()

    def rest() -> list[Any]:
        return [env.step(action)[:4] for action in actions[10:]] + [env.render(), env.reset()[0]]

    seen, first = env.plane.see()[0], rest()
    np.testing.assert_array_equal(env.restore(kept), seen)
    for a, b in zip(first, rest()):
        np.testing.assert_array_equal(
            np.concatenate([np.ravel(x) for x in a]), np.concatenate([np.ravel(x) for x in b])
        )


def test_starts_and_goals_are_where_they_are_said_to_be() -> None:
    level = LEVELS["maze"]
    free = level.find(".SG")
    world = PointMazes(3_000, level="maze", start="anywhere", goal="anywhere")
    obs, _ = world.reset(seed=0)
    assert not inside(obs[:, :2].astype(float), grown(level.walls, RADIUS - 1e-6)).any()
    cell = np.abs(obs[:, None, 2:] - free).max(-1).argmin(1)
    assert np.abs(obs[:, 2:] - free[cell]).max() < 1e-6
    assert len(set(cell)) == len(free)
    assert (np.abs(obs[:, :2] - obs[:, 2:]).max(1) > level.cell / 2).all()  # in another cell than the start
    fixed = PointMazes(200, level="maze", goal="anywhere")
    assert np.abs(fixed.bodies[:, 0] - level.find("S")).max() <= worlds.SPREAD
    assert np.abs(fixed.goal - level.find("S")).max(1).min() > 0.1


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: PointMazes(1, level="corridor"), "corridors"),
        (lambda: PointMazes(1, control="speed"), "velocity or force"),
        (lambda: Pushers(1, control="force"), "velocity control"),
        (lambda: Pushers(1, level="maze"), "one O"),
        (lambda: Expert(PointMazes(1, level="maze"), [1.0]), "2 routes"),
        (lambda: Expert(Omnis(1)), "no goal"),
    ],
)
def test_what_cannot_be_is_said(make: Any, says: str) -> None:
    with pytest.raises(ActrixError) as caught:
        make()
    assert says in f"{caught.value.message} {caught.value.hint}"


# -- images ---------------------------------------------


@pytest.mark.parametrize("side", [worlds.SIDE, 256])
def test_images_show_everything_where_the_state_says(side: int) -> None:
    """The centre of mass of what a disc adds to the floor is the disc's place."""
    world = Pushers(40, sees="image")
    world.bodies = np.random.default_rng(0).uniform(-0.8, 0.8, (40, 2, 2))
    middle = (np.arange(side) + 0.5) * 2 / side - 1
    images = world.see() if side == worlds.SIDE else world.draw(side)
    floor, far = np.array(COLOURS["floor"], float), np.abs(world.bodies[:, 0] - world.bodies[:, 1]).max(1)
    clear = (far > 0.3) & (np.abs(world.bodies - world.goal[:, None]).max(-1).min(1) > 0.3)
    assert clear.sum() > 20
    for k, (which, (size, told)) in itertools.product(np.flatnonzero(clear), enumerate(zip((RADIUS, PUSHED), BODIES))):
        body = world.bodies[k, which]
        weight = ((images[k] - floor) @ (told - floor)) / ((told - floor) @ (told - floor))
        near = (np.abs(middle - body[0])[None] < 0.15) & (np.abs(-middle - body[1])[:, None] < 0.15)
        weight = np.where(near, weight, 0.0)
        at = np.array([(weight * middle).sum(), (weight * -middle[:, None]).sum()]) / weight.sum()
        assert np.abs(at - body).max() < 0.12 * 2 / side + 0.002
        assert weight.sum() * (2 / side) ** 2 == pytest.approx(np.pi * size**2, rel=0.25 if side == 32 else 0.02)


def test_a_picture_has_walls_goal_and_trail() -> None:
    env = worlds.PointMaze(render_mode="rgb_array", level="corridors")
    env.reset(seed=0)
    before = env.render()
    assert tuple(before[128, 128]) == COLOURS["wall"]
    assert tuple(before[128, 256 - 18]) == COLOURS["goal"]
    for _ in range(8):
        env.step([0.0, 1.0])
    after = env.render()
    x = int((env.plane.bodies[0, 0, 0] + 1) * 128)
    y = int((1 - env.plane.bodies[0, 0, 1]) * 128)
    assert tuple(after[y, x]) == BODIES[0]
    assert (after[y:128, x] != np.array(COLOURS["floor"])).any(-1).sum() >= 6  # marks on the way


# -- ways ---------------------------------------------


def test_lines_of_sight_agree_with_looking_at_many_points() -> None:
    rng = np.random.default_rng(0)
    walls = grown(LEVELS["maze"].walls, RADIUS)[4:]
    a, b = rng.uniform(-1, 1, (2, 3_000, 2))
    part = np.linspace(0, 1, 1_500)[:, None]
    looked = np.array([not inside(p + part * (q - p), walls).any() for p, q in zip(a, b)])
    assert (sees(a, b, walls) != looked).mean() < 0.002  # lines that only graze a corner
    box = np.array([[-0.5, -0.5, 0.5, 0.5]])
    for p, q, free in (
        ((-1, 0.5), (1, 0.5), True),  # along a side
        ((-1, 0.49), (1, 0.49), False),
        ((-1, 0), (-0.5, 0), True),  # up to a side
        ((-0.5, -0.5), (0.5, 0.5), False),  # from corner to corner
        ((-1, 0), (0, 1), True),  # by a corner
        ((0.5, -1), (0.5, 1), True),
    ):  # fmt: skip
        assert sees(np.array(p, float), np.array(q, float), box) == free


def test_shortest_paths_are_those_of_closed_forms_and_of_a_fine_grid() -> None:
    level = LEVELS["corridors"]
    paths = Paths(level)
    left, _, right, high = grown(level.walls, RADIUS)[4]
    start, goal = level.find("S"), level.find("G")
    expected = 2 * np.hypot(left - start[0, 0], high - start[0, 1]) + (right - left)
    np.testing.assert_allclose(paths.shortest(start, goal), expected)
    np.testing.assert_allclose(paths.shortest(start, start + 0.01), 0.01 * np.sqrt(2))
    # Dijkstra on a grid of 16 directions: at most 2.8 % longer than the truth, never shorter
    import heapq

    level = LEVELS["maze"]
    walls = grown(level.walls, RADIUS)
    n = 90
    free = ~inside(np.stack(np.meshgrid(np.linspace(-0.95, 0.95, n), np.linspace(-0.95, 0.95, n)), -1), walls)
    ways = [(i, j) for i in range(-2, 3) for j in range(-2, 3) if np.gcd(i, j) == 1]
    grid = np.linspace(-0.95, 0.95, n)
    near = lambda p: tuple(int(np.abs(grid - x).argmin()) for x in p[::-1])  # noqa: E731
    first, last = near(level.find("S")[0]), near(level.find("G")[0])
    best, queue = {first: 0.0}, [(0.0, first)]
    while queue:
        far, at = heapq.heappop(queue)
        if at == last:
            break
        if far > best[at]:
            continue
        for i, j in ways:
            to, half = (at[0] + i, at[1] + j), (at[0] + i // 2, at[1] + j // 2)
            if 0 <= min(to) <= max(to) < n and free[to] and free[half]:
                new = far + (grid[1] - grid[0]) * np.hypot(i, j)
                if new < best.get(to, np.inf):
                    best[to] = new
                    heapq.heappush(queue, (new, to))
    exact = Paths(level).shortest(level.find("S"), level.find("G"))[0]
    assert exact - 0.05 <= best[last] <= 1.03 * exact + 0.05


@pytest.mark.parametrize(
    ("kind", "level", "control"),
    [
        ("PointMaze", "corridors", "velocity"), ("PointMaze", "corridors", "force"), ("PointMaze", "maze", "velocity"),
        ("PointMaze", "uneven", "velocity"), ("Pusher", "pillar", "velocity"),
    ],
)  # fmt: skip
def test_experts_reach_the_goal_by_the_route_they_choose(kind: str, level: str, control: str) -> None:
    world = KINDS[kind](300, level=level, control=control)
    expert = Expert(world, [0.25, 0.75])
    found = recorded(world, expert, 300, seed=7)
    assert np.mean([e.terminated and sum(e.reward) == 1 for e in found]) >= 0.99
    places = expert.places
    went = []
    for e in found:
        disc = np.array(e.obs)[:, 2:4] if kind == "Pusher" else np.array(e.obs)[:, :2]
        near = np.hypot(*(disc[:, None] - places).transpose(2, 0, 1)).min(0)
        went.append(int(near.argmin()))
        assert near.min() < 0.2
    assert went == expert.route.tolist()
    assert np.mean(went) == pytest.approx(0.75, abs=0.08)


def test_a_steady_expert_walks_the_shortest_way() -> None:
    world = PointMazes(20, level="maze")
    found = recorded(world, Expert(world, noise=0.0), 20)
    for e in found:
        walked = np.hypot(*np.diff(np.array(e.obs), axis=0).T).sum()
        start, end = np.array(e.obs[0], float)[None], np.array(e.obs[-1], float)[None]
        least = Paths(LEVELS["maze"]).shortest(start, end)[0]
        assert least - 1e-5 <= walked <= 1.06 * least


def test_goals_anywhere_are_reached_from_anywhere() -> None:
    world = PointMazes(400, level="maze", start="anywhere", goal="anywhere")
    assert np.mean([e.terminated for e in recorded(world, Expert(world), 400)]) >= 0.99


def test_recordings_are_whole_episodes_and_the_same_again(tmp_path: Any) -> None:
    world = PointMazes(64, level="corridors")
    expert = Expert(world, [0.5, 0.5], lost=0.3)
    found = recorded(world, expert, 100, seed=5)
    assert len(found) == 100
    assert 0.55 < np.mean([e.terminated for e in found]) < 0.85
    assert all(e.truncated == (len(e.reward) == 100 and not e.terminated) for e in found)
    single = PointMazes(1, level="corridors")
    again = recorded(single, Expert(single, [0.5, 0.5], lost=0.3), 3, seed=5)
    for a, b in zip(found, again):
        np.testing.assert_allclose(np.array(a.obs), np.array(b.obs), atol=1e-5)
        assert a.seed == b.seed
    file = written(tmp_path / "x.npz", "actrix.envs.plane:PointCorridors-v0", found)
    env = make_env("actrix.envs.plane:PointCorridors-v0")
    data = Dataset.open(recording(file), Maps(env.observation_space, env.action_space))
    assert len(data) == sum(len(e.reward) for e in found)
    assert data.episodes == 100


def test_a_level_of_ones_own() -> None:
    mine = Level(("S.", "#G"), 30)
    world = PointMazes(1, level=mine)
    assert isinstance(world, Plane)
    np.testing.assert_allclose(world.bodies[0, 0], [-0.5, 0.5], atol=worlds.SPREAD)
    np.testing.assert_allclose(world.goal[0], [0.5, -0.5])
    assert recorded(world, Expert(world), 1)[0].terminated
