"""Teams: PettingZoo environments as one, against a hand-written one of known answers; worlds of known best returns."""

from __future__ import annotations

import itertools
import sys
import types
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

pettingzoo = pytest.importorskip("pettingzoo")

from pettingzoo import ParallelEnv  # noqa: E402
from pettingzoo.test import parallel_api_test  # noqa: E402
from pettingzoo.utils.conversions import parallel_to_aec  # noqa: E402

from actrix.envs.cooperative import Aloha, Matching, SmallAloha, best_return, neighbours  # noqa: E402
from actrix.envs.make import make_env  # noqa: E402
from actrix.envs.many import batched, make_worlds  # noqa: E402
from actrix.envs.teams import Team, make_team  # noqa: E402
from actrix.errors import ActrixError  # noqa: E402

SMALL = "pettingzoo:actrix.envs.cooperative.SmallAloha"


class Relay(ParallelEnv):
    """Three runners of unequal sight and choice. Runner k sees (k + 1, .., k + 1, clock). Runner `gone` leaves after
    its first step. Rewards are 1, 2 and 6 times the choice. Ends by `how` after `length` steps."""

    metadata = {"name": "relay", "render_modes": [], "is_parallelizable": True}

    def __init__(self, how: str = "terminated", length: int = 3, masks: str = "", gone: int | None = 1) -> None:
        self.possible_agents = ["zoe", "yan", "abe"]  # not in the order of their names
        self.how, self.length, self.masks, self.leaver = how, length, masks, gone
        self.state_space = spaces.Box(-9, 9, (2,), np.float32)
        self.render_mode = None
        self.heard: list[dict[str, int]] = []

    def observation_space(self, agent: str) -> Any:
        k = self.possible_agents.index(agent)
        box = spaces.Box(-9, 9, (k + 2,), np.float32)
        if self.masks != "obs":
            return box
        return spaces.Dict({"observation": box, "action_mask": spaces.MultiBinary(k + 2)})

    def action_space(self, agent: str) -> Any:
        return spaces.Discrete(self.possible_agents.index(agent) + 2)

    def state(self) -> np.ndarray:
        return np.array([self.clock, -self.clock], np.float32)

    def _mask(self, k: int) -> np.ndarray:
        return (np.arange(k + 2) != 0).astype(np.int8)

    def _see(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for agent in self.agents:
            k = self.possible_agents.index(agent)
            row = np.array([k + 1] * (k + 1) + [self.clock], np.float32)
            found[agent] = {"observation": row, "action_mask": self._mask(k)} if self.masks == "obs" else row
        return found

    def _infos(self) -> dict[str, Any]:
        masked = self.masks == "info"
        return {a: {"action_mask": self._mask(self.possible_agents.index(a))} if masked else {} for a in self.agents}

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        self.agents, self.clock = list(self.possible_agents), 0
        return self._see(), self._infos()

    def step(self, actions: dict[str, int]) -> tuple[Any, Any, Any, Any, Any]:
        assert set(actions) == set(self.agents)
        self.heard.append(dict(actions))
        self.clock += 1
        weight = {"zoe": 1.0, "yan": 2.0, "abe": 6.0}
        rewards = {a: weight[a] * actions[a] for a in self.agents}
        over = self.clock >= self.length
        left = [a for a in self.agents if self.clock == 1 and self.leaver == self.possible_agents.index(a)]
        ended = {a: a in left or (over and (self.how == "terminated" or a != "abe")) for a in self.agents}
        cut = {a: over and not ended[a] for a in self.agents}
        seen, infos = self._see(), self._infos()
        self.agents = [a for a in self.agents if not (ended[a] or cut[a])]
        return seen, rewards, ended, cut, infos


class Opponents(Relay):
    def step(self, actions: dict[str, int]) -> tuple[Any, Any, Any, Any, Any]:
        seen, _, ended, cut, infos = super().step(actions)
        return seen, {"zoe": 1.0, "yan": -1.0, "abe": 0.0}, ended, cut, infos


class Steering(Relay):
    def action_space(self, agent: str) -> Any:
        return spaces.Box(-1, 1, (2,))


class Strangers(Relay):
    def __init__(self) -> None:
        super().__init__()
        self.possible_agents = []


def in_turn() -> Any:
    found = parallel_to_aec(Relay(gone=None))
    found.metadata["is_parallelizable"] = False
    return found.env  # without the wrapper that would give the parallel one back


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of one's own."""
    made = types.ModuleType("my_teams")
    made.__spec__ = types.SimpleNamespace(name="my_teams")  # type: ignore[assignment]
    made.parallel_env, made.Opponents, made.Steering, made.Strangers = Relay, Opponents, Steering, Strangers  # type: ignore[attr-defined]
    made.in_turn = in_turn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_teams", made)


# -- the adapter ---------------------------------------------


def test_agents_stand_side_by_side_in_their_own_order() -> None:
    worlds = make_worlds("pettingzoo:my_teams", 2)
    obs, mask = worlds.reset([0, 1])
    spec = worlds.spec
    assert spec.agents == 3
    assert spec.action.sizes == (2, 3, 4)
    assert [(p.agent, p.shape, p.privileged) for p in spec.obs] == [
        (0, (2,), False), (1, (3,), False), (2, (4,), False), (None, (2,), True),
    ]  # fmt: skip
    np.testing.assert_array_equal(obs[0], [1, 0, 2, 2, 0, 3, 3, 3, 0, 0, 0])
    assert mask is not None
    assert mask.all()


def test_an_agent_that_is_gone_sees_nothing_decides_nothing_and_earns_nothing() -> None:
    env = Relay()
    team = Team(env)
    team.reset(seed=0)
    obs, reward, terminated, truncated, info = team.step(np.array([1, 2, 3]))
    assert reward == pytest.approx((1 * 1 + 2 * 2 + 6 * 3) / 3)
    assert not terminated
    assert not truncated
    np.testing.assert_array_equal(np.concatenate(obs["agents"]), [1, 1, 0, 0, 0, 3, 3, 3, 1])
    np.testing.assert_array_equal(info["action_mask"], [1, 1, 1, 0, 0, 1, 1, 1, 1])
    _, reward, *_ = team.step(np.array([1, 0, 1]))
    assert reward == pytest.approx((1 + 6) / 3), "the mean is over all who may play"
    assert env.heard == [{"zoe": 1, "yan": 2, "abe": 3}, {"zoe": 1, "abe": 1}]


@pytest.mark.parametrize("how", ["terminated", "truncated"])
def test_it_ends_when_all_have_and_is_cut_off_when_one_of_the_last_is(how: str) -> None:
    """In "truncated" one of the last two is cut off and the other's task ends: value goes on."""
    team = Team(Relay(how, length=2))
    team.reset(seed=0)
    assert team.step(np.zeros(3, int))[2:4] == (False, False)
    obs, _, terminated, truncated, _ = team.step(np.zeros(3, int))
    assert (terminated, truncated) == (how == "terminated", how == "truncated")
    # the last thing that was seen is what one bootstraps from
    np.testing.assert_array_equal(obs["agents"][2], [3, 3, 3, 2])
    np.testing.assert_array_equal(obs["privileged"], [2, -2])


@pytest.mark.parametrize("masks", ["info", "obs"])
def test_masks_come_from_info_or_from_the_observation(masks: str) -> None:
    team = Team(Relay(masks=masks))
    obs, info = team.reset(seed=0)
    np.testing.assert_array_equal(info["action_mask"], [0, 1, 0, 1, 1, 0, 1, 1, 1])
    assert team.observation_space["agents"][1].shape == (3,), "a mask is no part of what is seen"
    np.testing.assert_array_equal(obs["agents"][1], [2, 2, 0])
    assert team.observation_space.contains(obs)


def test_turns_that_can_be_taken_together_are() -> None:
    team, alone = make_team("pettingzoo.sisl.pursuit_v5"), None
    obs, _ = team.reset(seed=3)
    assert len(obs["agents"]) == 8
    from pettingzoo.sisl import pursuit_v5

    alone = pursuit_v5.parallel_env()
    seen, _ = alone.reset(seed=3)
    rng = np.random.default_rng(0)
    for _ in range(5):
        action = rng.integers(0, 5, 8)
        obs, reward, *_ = team.step(action)
        seen, rewards, *_ = alone.step(dict(zip(alone.possible_agents, action.tolist())))
        assert reward == pytest.approx(np.mean(list(rewards.values())))
        for mine, theirs in zip(obs["agents"], seen.values()):
            np.testing.assert_array_equal(mine, theirs)


def test_a_real_environment_is_what_it_is_alone() -> None:
    mpe2 = pytest.importorskip("mpe2.simple_spread_v3")
    worlds, alone = make_worlds("pettingzoo:mpe2.simple_spread_v3", 1), mpe2.parallel_env()
    rows, _ = worlds.reset([5])
    seen, _ = alone.reset(seed=5)
    rng, total = np.random.default_rng(0), 0.0
    truncated, steps = {"": False}, 0
    while not all(truncated.values()):
        np.testing.assert_allclose(rows[0, :54], np.concatenate(list(seen.values())), rtol=1e-6)
        np.testing.assert_allclose(rows[0, 54:], alone.state(), rtol=1e-6)
        action = rng.integers(0, 5, 3)
        out = worlds.step(action[None])
        seen, rewards, _, truncated, _ = alone.step(dict(zip(alone.possible_agents, action.tolist())))
        total += np.mean(list(rewards.values()))
        rows = out.next_obs
        steps += 1
    assert out.truncated[0]
    assert not out.terminated[0]
    assert out.episodes == [(pytest.approx(total, rel=1e-5), steps)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_teams.Opponents", "they are opponents"),
        ("my_teams.Steering", "the actions of zoe are Box"),
        ("my_teams.Strangers", "does not say which agents may play"),
        ("my_teams.in_turn", "move in turn"),
        ("my_teams.Nobody", "unknown environment of my_teams 'Nobody'"),
        ("no_such_module", "there is no module 'no_such_module'"),
        ("pettingzoo.mpe.simple_spread_v3", "Install with `pip install mpe2`"),
        ("actrix.envs.spaces", "has no parallel_env and no env"),
    ],
)
def test_what_is_no_team_is_named(name: str, message: str) -> None:
    def play() -> None:
        env = make_env(f"pettingzoo:{name}")
        env.reset(seed=0)
        for _ in range(3):
            env.step(np.zeros(3, int))

    with pytest.raises(ActrixError, match=message) as caught:
        play()
    assert caught.value.hint


def test_the_nearest_name_is_offered() -> None:
    pytest.importorskip("mpe2")
    with pytest.raises(ActrixError, match="unknown environment of mpe2 'simple_spread_v33'") as caught:
        make_env("pettingzoo:mpe2.simple_spread_v33")
    assert "did you mean simple_spread_v3" in caught.value.hint


# -- own worlds ---------------------------------------------


@pytest.mark.parametrize("kind", [Matching, Aloha, SmallAloha])
def test_they_are_what_pettingzoo_means(kind: type) -> None:
    parallel_api_test(kind(), num_cycles=60)


def test_the_payoffs_of_matching() -> None:
    table = Matching.table(3)
    env = Matching(3)
    for joint in itertools.product(range(3), repeat=3):
        env.reset()
        rewards = env.step(dict(zip(env.possible_agents, joint)))[1]
        assert set(rewards.values()) == {table[joint]}
    assert sorted(table[table > 0]) == [0.8, 0.9, 1.0]
    assert table.max() == table[0, 0, 0]


def test_a_collision_costs_and_a_message_that_arrives_pays() -> None:
    env = SmallAloha()  # 0 1 / 2 3
    env.reset(seed=0)
    pay = [env.step(dict(zip(env.possible_agents, sends)))[1]["island_0"] for sends in ([1, 0, 0, 1], [0] * 4)]
    assert pay == pytest.approx([0.2, 0.0])
    env.world.backlog[:] = 2
    assert env.step(dict(zip(env.possible_agents, [1, 1, 0, 0])))[1]["island_0"] == pytest.approx(-20.0)
    env.world.backlog[:] = [[1, 0, 1, 1]]
    assert env.step(dict(zip(env.possible_agents, [1, 1, 0, 0])))[1]["island_0"] == pytest.approx(-10.0)
    assert neighbours(2, 5).sum() == 2 * 13


def test_many_of_them_do_what_each_does_alone() -> None:
    """The same bits, over ends of episodes too."""
    assert batched(SMALL) is not None
    at_once, alone = make_worlds(SMALL, 3, vector="batched"), make_worlds(SMALL, 3)
    assert at_once.spec == alone.spec
    rng = np.random.default_rng(0)
    for found, truth in zip(at_once.reset([4, 5, 6]), alone.reset([4, 5, 6])):
        np.testing.assert_array_equal(found, truth)
    for _ in range(45):
        action = rng.integers(0, 2, (3, 4))
        found, truth = at_once.step(action), alone.step(action)
        for name in ("obs", "next_obs", "reward", "terminated", "truncated", "mask", "next_mask"):
            np.testing.assert_array_equal(getattr(found, name), getattr(truth, name), name)
        assert found.episodes == truth.episodes
    assert len(set(truth.obs[:, 0])) > 1, "the worlds differ"


def test_best_returns_are_what_such_policies_get() -> None:
    """Backward induction against play: two islands of a diagonal always send, which pays 0.1 for every message of
    theirs that was there in time; and nothing does better than the best."""
    fixed = np.array([True, False, False, True])
    known = best_return(SmallAloha, fixed)
    assert known == pytest.approx(2 * 0.1 * (1 + 19 * 0.6))
    assert best_return(SmallAloha, ~fixed) == pytest.approx(known)
    assert best_return(SmallAloha, np.ones(4, bool)) < -50
    best = best_return(SmallAloha)
    assert known < best < 0.1 * 2 * 20
    worlds = make_worlds(SMALL, 400, vector="batched")
    obs, _ = worlds.reset(range(400))
    returns: list[float] = []
    for _ in range(20):  # the diagonal with the greater backlog sends: at most the best
        backlog = obs[:, :4]
        first = np.minimum(backlog[:, [0, 3]], 1).sum(1) + 0.1 * backlog[:, [0, 3]].sum(1)
        second = np.minimum(backlog[:, [1, 2]], 1).sum(1) + 0.1 * backlog[:, [1, 2]].sum(1)
        action = np.where((first >= second)[:, None], [[1, 0, 0, 1]], [[0, 1, 1, 0]])
        out = worlds.step(action)
        obs = out.obs
        returns += [value for value, _ in out.episodes]
    assert known + 0.5 < np.mean(returns) <= best + 0.05
