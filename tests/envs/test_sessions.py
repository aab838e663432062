"""Sessions of a feed against what they say of themselves."""

from __future__ import annotations

import numpy as np
import pytest

from actrix.envs.many import make_worlds
from actrix.envs.sessions import (
    APPEAL,
    BORED,
    CARE,
    HOOK,
    ITEMS,
    LIMIT,
    TOPIC,
    SessionRows,
    Sessions,
    noisy_ranker,
    sigmoid,
)
from actrix.envs.spaces import ObsMap
from actrix.errors import ActrixError
from actrix.spec import vector_spec

NAME = "actrix.envs.sessions:Sessions-v0"


def test_signals_come_as_often_as_they_should() -> None:
    """In first steps of many sessions: minutes, reactions and leaving, against their means in closed form."""
    side = SessionRows(60_000)
    side.reset(seed=0)
    item = np.arange(60_000) % ITEMS
    match = (side.taste * TOPIC[item]).sum(1)
    obs, reward, left, cut, _ = side.step(item)
    for i in range(ITEMS):
        at = item == i
        minutes = (HOOK[i] * np.exp(0.4**2 / 2) * sigmoid(2 * match[at])).mean()
        assert reward[at].mean() == pytest.approx(minutes, rel=0.05)
        expected = sigmoid(APPEAL[i] + 2 * match[at, None]).mean(0)
        np.testing.assert_allclose(obs["signals"][at].mean(0), expected, atol=0.02)
        mood = 0.3 * (2 * match[at] + 0.5 * CARE[i])
        assert left[at].mean() == pytest.approx(sigmoid(-2.4 - 1.2 * mood).mean(), abs=0.02)
    assert not cut.any()
    np.testing.assert_allclose(obs["user"][:, -2:], np.stack((reward, np.full(60_000, 1 / LIMIT)), 1), rtol=1e-5)


def test_one_is_tired_of_what_one_has_seen() -> None:
    side = SessionRows(4_000)
    side.reset(seed=1)
    minutes = [side.step(np.zeros(4_000, np.int64))[1].mean() for _ in range(10)]
    assert minutes[-1] < 0.8 * minutes[0]
    exposed = (1 - 0.7**10) * TOPIC[0]
    np.testing.assert_allclose(side.exposure[0], exposed)
    match = ((side.taste - BORED * exposed / (1 - 0.7**10) * (1 - 0.7**9)) * TOPIC[0]).sum(1)
    assert minutes[-1] == pytest.approx((HOOK[0] * np.exp(0.08) * sigmoid(2 * match)).mean(), rel=0.05)


def test_what_holds_people_is_not_what_they_react_to() -> None:
    """The conflict that the world is for."""
    hold = np.log(HOOK)
    assert all(np.corrcoef(hold, APPEAL[:, k])[0, 1] < -0.1 for k in range(3))
    assert np.corrcoef(hold, CARE)[0, 1] < -0.9


def test_sessions_end_by_leaving_or_by_the_limit() -> None:
    side, rng = SessionRows(500), np.random.default_rng(0)
    side.reset(seed=2)
    playing, ends = np.ones(500, bool), {"left": 0, "cut": 0}
    for t in range(LIMIT):
        _, _, left, cut, _ = side.step(noisy_ranker(side, rng))
        assert not (left & cut).any()
        assert not cut.any() or t == LIMIT - 1
        ends["left"] += int((playing & left).sum())
        ends["cut"] += int((playing & cut).sum())
        playing &= ~(left | cut)
    assert not playing.any()
    assert min(ends.values()) > 10


def test_many_are_as_each_alone() -> None:
    seeds, rng = [5, 9, 13], np.random.default_rng(0)
    many, alone = SessionRows(3), [Sessions() for _ in seeds]
    obs, _ = many.reset(seed=seeds)
    for env, seed in zip(alone, seeds):
        env.reset(seed=seed)
    for t in range(8):
        if t == 5:
            obs, _ = many.reset(options={"reset_mask": np.array([False, True, False])})
            alone[1].reset()
        item = rng.integers(ITEMS, size=3)
        obs, reward, left, _, _ = many.step(item)
        for i, env in enumerate(alone):
            seen, paid, over, _, _ = env.step(item[i])
            assert (np.float32(paid), over) == (reward[i], left[i])
            for name, values in seen.items():
                np.testing.assert_array_equal(obs[name][i], values)


def test_the_spec_says_where_the_signals_are() -> None:
    worlds = make_worlds(NAME, 2, vector="batched")
    obs, _ = worlds.reset([0, 1])
    part = worlds.spec.signals
    assert part is not None
    assert part.stop - part.start == 3
    assert (obs[:, part.start : part.stop] == 0).all()
    assert vector_spec(3, 2).signals is None
    worlds.close()


def test_rows_are_taken_as_they_are() -> None:
    """Observations of several parts, laid out leaf after leaf."""
    side = SessionRows(4)
    tree, _ = side.reset(seed=0)
    obs_map = ObsMap(side.single_observation_space)
    rows = obs_map.rows(tree)
    np.testing.assert_array_equal(obs_map.rows(rows), rows)
    with pytest.raises(ActrixError, match="several parts"):
        obs_map.rows(rows[:, 1:])
