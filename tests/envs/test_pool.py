"""EnvPool gives the transitions that the environments in this process give."""

from __future__ import annotations

import numpy as np
import pytest

from actrix.envs.many import make_worlds
from actrix.envs.worlds import LocalWorlds

pytest.importorskip("envpool", reason="the extra 'envpool' is not installed")


def test_chosen_by_name_and_only_where_it_has_the_environment() -> None:
    from actrix.envs.pool import PoolWorlds, available

    assert available("CartPole-v1")
    assert not available("FrozenLake-v1-of-nobody")
    pool, local = make_worlds("CartPole-v1", 2, vector="envpool"), make_worlds("CartPole-v1", 2)
    assert isinstance(pool, PoolWorlds)
    assert isinstance(local, LocalWorlds)
    assert pool.spec.action == local.spec.action
    pool.close()
    local.close()


def test_ends_resets_and_seeds() -> None:
    worlds = make_worlds("CartPole-v1", 3, vector="envpool")

    def play() -> tuple[list[tuple[float, int]], np.ndarray, int]:
        obs, _ = worlds.reset([5, 6, 7])
        episodes, invalid = [], 0
        for _ in range(60):
            out = worlds.step(np.ones((3, 1), np.int64))
            episodes += out.episodes
            invalid += int((~out.valid).sum())
            assert (np.abs(out.obs[~out.valid]) < 0.06).all()  # a reset row is a fresh start
            assert (np.abs(out.next_obs[out.terminated & out.valid][:, 2]) > 0.2).all()  # the true successor has fallen
        return episodes, obs, invalid

    episodes, obs, invalid = play()
    assert len(episodes) > 10
    assert all(value == length for value, length in episodes)  # one a step, resets not counted
    assert invalid >= len(episodes) - 3
    again, same, _ = play()
    np.testing.assert_array_equal(obs, same)
    assert episodes == again
    worlds.close()
