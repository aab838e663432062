"""Lot sizing against arithmetic done by hand, and its known part against its steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from actrix.envs.lots import CAPACITY, DEMAND, LIMIT, LotSizing, joined, post_decision, split
from actrix.envs.many import make_worlds


def test_a_step_by_hand() -> None:
    env = LotSizing(known=True)
    env.reset(seed=0)
    env.store, env.setup = np.array([5.0, 1.0, 0.0, 19.0, 3.0]), np.array([1, 4])
    # machine 0 goes on with item 1: 10 more; machine 1 turns to item 3: 10 - 2 of it, and costs 2
    obs, reward, terminated, truncated, _ = env.step(np.array([1, 3]))
    left = np.array([12.0, 0.0, 5.0, 17.0, 0.0])  # of 15, 1, 8, 19, 3 after 3, 2, 3, 2, 3
    np.testing.assert_allclose(obs[:5] * CAPACITY, left, rtol=1e-6)
    assert reward == pytest.approx(-(2.0 + 0.1 * 34.0 + 2.0 * 1.0))  # a setup, the store, one of item 2 not sold
    assert (terminated, truncated) == (False, False)
    assert obs[5:11].argmax() == 1
    assert obs[11:].argmax() == 3
    assert obs[5:].sum() == 2


def test_to_make_nothing_is_free_and_forgets_the_setup() -> None:
    env = LotSizing(demand=0.0)
    env.reset(seed=0)
    env.store, env.setup = np.zeros(5), np.array([2, 2])
    assert env.step(np.array([0, 0]))[1] == 0.0
    assert env.step(np.array([2, 0]))[1] == pytest.approx(-2.0 - 0.1 * 6.0)


def test_what_is_over_is_thrown_away_after_the_demand() -> None:
    env = LotSizing(known=True)
    env.reset(seed=0)
    env.store, env.setup = np.full(5, 18.0), np.array([1, 3])
    obs = env.step(np.array([1, 3]))[0]
    np.testing.assert_allclose(obs[:5] * CAPACITY, [20.0, 16.0, 20.0, 16.0, 15.0])  # 25 and 25 are too many


def test_the_known_part_is_the_step_without_the_demand() -> None:
    """Whatever is in the store, whatever the machines are set up for and told."""
    rng = np.random.default_rng(0)
    env = LotSizing(demand=0.0)
    for i in range(200):
        before, _ = env.reset(seed=i)
        action = rng.integers(6, size=2)
        after = env.step(action)[0]
        known = post_decision(torch.from_numpy(before)[None], torch.from_numpy(action)[None])[0]
        np.testing.assert_allclose(np.minimum(known.numpy()[:5], 1.0), after[:5], atol=1e-6)
        np.testing.assert_array_equal(known.numpy()[5:], after[5:])


def test_the_known_part_does_not_know_the_demand() -> None:
    """The rest of the step is the demand alone: no more of any item is there than was known."""
    worlds = make_worlds("actrix.envs.lots:LotSizing-v0", 8)
    assert worlds.post_decision is not None
    obs, _ = worlds.reset(list(range(8)))
    rng = np.random.default_rng(1)
    sold = np.zeros((LIMIT, 8, 5))
    for t in range(LIMIT):
        action = rng.integers(6, size=(8, 2))
        known = worlds.post_decision(torch.from_numpy(obs), torch.from_numpy(action)).numpy()
        out = worlds.step(action)
        np.testing.assert_array_equal(known[:, 5:], out.next_obs[:, 5:])
        sold[t] = (np.minimum(known[:, :5], 1.0 + DEMAND / CAPACITY * 10) - out.next_obs[:, :5]) * CAPACITY
        assert (known[:, :5] >= out.next_obs[:, :5] - 1e-6).all()
        assert out.truncated.all() == (t == LIMIT - 1)
        assert not out.terminated.any()
        obs = out.obs
    assert sold.std(1).mean() > 0.5, "chance decides something"
    worlds.close()


def test_rows_are_split_and_joined() -> None:
    torch.manual_seed(0)
    store, setup = 20 * torch.rand(30, 5), torch.randint(6, (30, 2))
    for mine, theirs in zip(split(joined(store, setup)), (store, setup)):
        torch.testing.assert_close(mine, theirs)


def test_demand_is_poisson_or_its_mean() -> None:
    """Sold out of a full store, in many first steps."""
    sold = {True: [], False: []}  # type: ignore[var-annotated]
    for known in sold:
        env = LotSizing(known=known)
        env.reset(seed=0)
        for _ in range(3_000):
            env.store = np.full(5, 20.0)
            sold[known].append(20.0 - env.step(np.zeros(2))[0][:5] * CAPACITY)
    np.testing.assert_allclose(sold[True], np.broadcast_to(DEMAND, (3_000, 5)), atol=1e-5)
    np.testing.assert_allclose(np.mean(sold[False], 0), DEMAND, atol=0.15)
    np.testing.assert_allclose(np.var(sold[False], 0), DEMAND, rtol=0.1)
