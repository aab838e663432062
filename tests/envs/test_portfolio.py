"""Portfolios against arithmetic done by hand, and tables against what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from actrix.envs.make import make_env, parted
from actrix.envs.many import make_worlds
from actrix.envs.portfolio import SHARPNESS, Portfolio, Portfolios, softmax
from actrix.envs.prices import MARKETS, Market, read
from actrix.errors import ActrixError

NAME = "actrix.envs.portfolio:Portfolio-v0"


def table(folder: Path, text: str) -> str:
    path = folder / "prices.csv"
    path.write_text(text)
    return str(path)


def walk(folder: Path, days: int, assets: int = 2, seed: int = 0) -> tuple[str, np.ndarray]:
    """A table of random walks, and its closing prices [D, N]."""
    rng = np.random.default_rng(seed)
    close = 50 * np.exp(np.cumsum(0.02 * rng.standard_normal((days, assets)), 0))
    path = folder / "walk.npz"
    np.savez(path, close=close)
    return str(path), close


def test_a_day_by_hand(tmp_path: Path) -> None:
    path = table(tmp_path, "A,B\n10,20\n10,20\n11,18\n11,27\n")
    env = Portfolio(prices=path, days=2, window=2, cost=0.01)
    env.reset(seed=0)
    action = np.array([0.0, 0.2, 0.1])
    w = softmax(SHARPNESS * action)
    _, reward, terminated, truncated, info = env.step(action)
    assert (terminated, truncated) == (False, False)
    cost = 0.01 * (w[1] + w[2])  # out of cash, which is free
    grown = w[0] + 1.1 * w[1] + 0.9 * w[2]
    assert reward == pytest.approx(np.log((1 - cost) * grown), abs=1e-6)
    assert info["value"] == pytest.approx((1 - cost) * grown)
    drifted = w * [1, 1.1, 0.9] / grown
    obs, reward, terminated, truncated, info = env.step(action)  # back to the same weights
    cost = 0.01 * np.abs(drifted - w)[1:].sum()
    assert reward == pytest.approx(np.log((1 - cost) * (w[0] + w[1] + 1.5 * w[2])), abs=1e-6)
    assert info["turnover"] == pytest.approx(np.abs(drifted - w)[1:].sum())
    assert (terminated, truncated) == (True, False)
    np.testing.assert_allclose(obs["prices"][0], [[0.0, 0.0], [18 / 27 - 1, 0.0]], atol=1e-6)


def test_holding_what_has_drifted_is_free(tmp_path: Path) -> None:
    """Buy and hold: the value is the mean of the prices, whatever they do."""
    path, close = walk(tmp_path, 40)
    env = Portfolio(prices=path, days=30, window=5, cost=0.01, start="first")
    env.reset(seed=0)
    action = np.array([-1.0, 0.0, 0.0])
    first = softmax(SHARPNESS * action)
    info: Any = None
    for _ in range(30):
        info = env.step(action)[-1]
        w = env.side.weights[0]
        log = np.log(w) / SHARPNESS
        action = log - log.mean()
    growth = np.concatenate(([1.0], close[34] / close[4]))
    assert info["value"] == pytest.approx((1 - 0.01 * first[1:].sum()) * (first * growth).sum(), rel=1e-5)


def test_the_log_form_earns_less(tmp_path: Path) -> None:
    path, close = walk(tmp_path, 12)
    action = np.array([0.0, 0.3, -0.2])
    w = softmax(SHARPNESS * action)
    earned = {}
    for form in ("arithmetic", "log"):
        env = Portfolio(prices=path, days=1, window=5, cost=0.0, value=form, start="first")
        env.reset(seed=0)
        earned[form] = env.step(action)[1]
    relative = np.log(close[5] / close[4])
    assert earned["log"] == pytest.approx((w[1:] * relative).sum(), abs=1e-6)
    assert earned["log"] < earned["arithmetic"]


def test_what_is_seen_does_not_know_the_future(tmp_path: Path) -> None:
    """Other prices from tomorrow on change nothing of what is seen today; those of today do."""
    path, close = walk(tmp_path, 30)
    for day, same in ((10, True), (9, False)):
        changed = close.copy()
        changed[day:] *= np.linspace(1.1, 2.0, len(changed) - day)[:, None]
        other = tmp_path / "other.npz"
        np.savez(other, close=changed)
        seen = []
        for file in (path, str(other)):
            env = Portfolio(prices=file, days=20, window=5, start="first")
            env.reset(seed=0)
            for _ in range(5):
                obs = env.step(np.zeros(3))[0]
            seen.append(obs["prices"])
        assert np.array_equal(*seen) == same


def test_the_past_is_that_of_the_episode() -> None:
    env = Portfolio(days=12, window=4, assets=3)
    for _ in range(2):
        obs, _ = env.reset(seed=3)
        np.testing.assert_array_equal(obs["past"], 0.0)
        rewards: list[float] = []
        rng = np.random.default_rng(0)
        for t in range(12):
            obs, reward, terminated, _, _ = env.step(rng.uniform(-1, 1, 4))
            rewards.append(reward)
            expected = [100 * np.mean(rewards), 100 * np.std(rewards), (t + 1) / 12]
            np.testing.assert_allclose(obs["past"], expected, atol=1e-5)
            assert terminated == (t == 11)
    assert "past" not in Portfolio(memory=False).observation_space.spaces  # type: ignore[attr-defined]


def test_many_are_as_each_alone() -> None:
    seeds, rng = [5, 9, 13], np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (7, 3, 5))
    many = Portfolios(3, days=5, window=4)
    alone = [Portfolio(days=5, window=4) for _ in seeds]
    obs, _ = many.reset(seed=seeds)
    for env, seed in zip(alone, seeds):
        env.reset(seed=seed)
    for t, action in enumerate(actions):
        if t == 5:  # on to their next episodes, the middle one a moment later
            obs, _ = many.reset(options={"reset_mask": np.ones(3, bool)})
            for env in alone:
                env.reset()
        obs, reward, over, _, _ = many.step(action)
        for i, env in enumerate(alone):
            seen, paid, ended, _, _ = env.step(action[i])
            assert (reward[i], over[i]) == (np.float32(paid), ended)
            for name, values in seen.items():
                np.testing.assert_array_equal(obs[name][i], values)


def test_the_trend_is_what_is_known_of_the_next_return() -> None:
    """Regressing the next idiosyncratic return on the trend has the slope 1, and its strength is the one asked for."""
    market = Market(momentum=0.3, persistence=0.8, assets=6)
    found = market.paths([np.random.default_rng(i) for i in range(40)], 400)
    log = np.diff(np.log(found.close), axis=1)
    own = log - log.mean(-1, keepdims=True)
    trend = found.trend - found.trend.mean(-1, keepdims=True)
    slope = (own * trend[:, :-1]).sum() / np.square(trend[:, :-1]).sum()
    assert slope == pytest.approx(1.0, abs=0.05)
    assert found.trend.std() == pytest.approx(0.3 * market.noise / np.sqrt(1 - 0.8**2), rel=0.05)
    np.testing.assert_allclose(found.close[:, 0], 1.0)


def test_states_of_the_market_last_and_differ() -> None:
    market = MARKETS["momentum"]
    found = market.paths([np.random.default_rng(i) for i in range(60)], 500)
    state = found.turbulent[:, :-1]
    assert (state[:, 1:] == state[:, :-1]).mean() == pytest.approx(market.stay, abs=0.005)
    market_log = np.diff(np.log(found.close), axis=1).mean(-1)
    noise = market.noise**2 / market.assets
    for at, vol in enumerate(market.vol):
        seen = market_log[state == bool(at)]
        assert seen.var() == pytest.approx(vol**2 + noise + found.trend.mean(-1).var(), rel=0.1)


def test_nothing_is_to_be_known_in_the_null_market() -> None:
    found = MARKETS["null"].paths([np.random.default_rng(i) for i in range(50)], 500)
    assert (found.trend == 0).all()
    log = np.diff(np.log(found.close), axis=1)
    ahead, behind = log[:, 1:] - log.mean(), log[:, :-1] - log.mean()
    assert abs((ahead * behind).mean() / log.var()) < 0.02
    np.testing.assert_allclose(np.expm1(log).mean(), 0.0004, atol=2e-4)


def test_a_csv_and_an_npz_of_one_table_are_the_same(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "date,A,A.volume,A.high,B,B.high,B.volume\n2020-01-02,10,100,11,20,21,0\n2020-01-03,12,300,13,19,22,10\n",
    )
    found = read(path)
    assert found.features == ("close", "high", "volume")
    assert (found.assets, found.dates) == (("A", "B"), ("2020-01-02", "2020-01-03"))
    np.testing.assert_array_equal(found.values[1], [[12, 13, 300], [19, 22, 10]])
    whole = {name: found.values[..., f] for f, name in enumerate(found.features)}
    np.savez(tmp_path / "same.npz", **whole, assets=found.assets, dates=found.dates)  # type: ignore[arg-type]
    other = read(tmp_path / "same.npz")
    np.testing.assert_array_equal(found.values, other.values)
    assert (found.features, found.assets, found.dates) == (other.features, other.assets, other.dates)
    assert found.between("2020-01-03", None).dates == ("2020-01-03",)
    assert len(found.between("2020", "2020-01")) == 2


def test_volumes_are_seen_by_their_mean(tmp_path: Path) -> None:
    path = table(tmp_path, "A,A.volume\n10,100\n12,300\n15,50\n")
    env = Portfolio(prices=path, days=1, window=2)
    obs, _ = env.reset(seed=0)
    np.testing.assert_allclose(obs["prices"], [[[10 / 12 - 1, 0.0]], [[-0.5, 0.5]]], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("A,B\n1,2\n1,x\n", "line 3, column 'B': 'x' is no number"),
        ("A,B\n1,2\n1\n", "line 3 has 1 fields, not 2"),
        ("A,B\n1,2\n0,2\n", "row 2 of the days: close of A is 0.0, not above 0"),
        ("A,B\n1,2\n1,nan\n", "row 2 of the days: close of B is nan"),
        ("date,A\n2020-01-02,1\n2020-01-02,2\n", "row 2 of the days: '2020-01-02' does not come after"),
        ("A,A\n1,2\n", "two columns have one name"),
        ("A,A.high,B\n1,2,3\n", "no column 'B.high'"),
        ("A,B.high\n1,2\n", "no column 'A.high'"),
        ("A\n", "no rows below its head"),
    ],
)
def test_a_table_that_is_wrong_says_where(tmp_path: Path, text: str, says: str) -> None:
    path = table(tmp_path, text)
    with pytest.raises(ActrixError, match=says) as caught:
        read(path)
    assert caught.value.misuse
    assert path in caught.value.message


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("prices=nowhere.csv", "there is no table of prices nowhere.csv"),
        ("days=0", "days must be a whole number of at least 1"),
        ("value=other", "value is arithmetic or log"),
        ("market=bull", "unknown market"),
        ("since=2020-01-01", "go with a table"),
        ("cost=2", "cost must be"),
        ("dayz=3", "dayz"),
    ],
)
@pytest.mark.parametrize("vector", ["local", "batched"])
def test_arguments_that_are_wrong_are_named(arguments: str, says: str, vector: str) -> None:
    with pytest.raises(ActrixError, match=says):
        make_worlds(f"{NAME}?{arguments}", 2, vector=vector)


@pytest.mark.parametrize("name", ["prices.npz", "prices.csv"])
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\xff\x00 not a table \xfe")
    with pytest.raises(ActrixError, match=f"{name} cannot be read"):
        read(tmp_path / name)


def test_a_table_that_is_too_short_says_so(tmp_path: Path) -> None:
    path, _ = walk(tmp_path, 30)
    with pytest.raises(ActrixError, match="has 30 days of prices, and an episode needs 148"):
        make_env(f"{NAME}?prices={path}")


def test_arguments_of_an_environment_are_read() -> None:
    assert parted("CartPole-v1") == ("", "CartPole-v1", {})
    found = parted("a.b:C-v0?days=3&cost=1e-3&memory=False&prices=/x/y:z.csv&since=2020-01-02&name=")
    given = {"days": 3, "cost": 0.001, "memory": False, "prices": "/x/y:z.csv", "since": "2020-01-02", "name": ""}
    assert found == ("a.b", "C-v0", given)
    env = make_env("CartPole-v1?max_episode_steps=7")
    assert env.spec is not None
    assert env.spec.max_episode_steps == 7
    assert isinstance(env, gym.Env)
    worlds = make_worlds(f"{NAME}?days=3&window=4&assets=2", 2, vector="batched")
    assert worlds.obs_map.size == 2 * 4 + 3 + 3
    worlds.close()
