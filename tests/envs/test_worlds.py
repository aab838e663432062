"""Worlds in process, in workers, and in any vector environment give the same transitions, and the right ones."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from scripted import Counter, Scripted

from actrix.envs.make import make_env
from actrix.envs.many import make_worlds
from actrix.envs.processes import ProcessWorlds
from actrix.envs.worlds import LocalWorlds, VectorWorlds, Worlds
from actrix.errors import ActrixError
from actrix.rng import numpy_stream

N = 3
Row = tuple[Any, ...]


def makers(masks: bool = False) -> list[Any]:
    return [lambda i=i: Scripted(i, masks) for i in range(N)]


def build(kind: str, masks: bool = False) -> Worlds:
    if kind == "local":
        return LocalWorlds(makers(masks), "Scripted")
    if kind == "processes":
        return ProcessWorlds(makers(masks), "Scripted", workers=2)
    if kind == "async":
        return VectorWorlds(AsyncVectorEnv(makers(masks), autoreset_mode=AutoresetMode.SAME_STEP), "Scripted")
    return VectorWorlds(SyncVectorEnv(makers(masks), autoreset_mode=AutoresetMode(kind)), "Scripted")


KINDS = ["local", "processes", "async", *(mode.value for mode in AutoresetMode)]


def play(worlds: Worlds, steps: int) -> tuple[list[list[Row]], list[tuple[float, int]]]:
    """The valid transitions of each copy, in order, and the episodes that ended."""
    found: list[list[Row]] = [[] for _ in range(worlds.n)]
    episodes = []
    obs, mask = worlds.reset(list(range(worlds.n)))
    for _ in range(steps):
        # the action follows from what is seen, so that differing numbers of steps do not matter
        action = ((obs[:, 1:2] + 2 * obs[:, 2:3] + 1) % 4).astype(np.int64)
        if mask is not None:
            action = np.array([[np.flatnonzero(row)[int(a) % int(row.sum())]] for row, (a,) in zip(mask, action)])
        out = worlds.step(action)
        episodes += out.episodes
        for i in np.flatnonzero(out.valid):
            marks = () if mask is None or out.next_mask is None else (tuple(mask[i]), tuple(out.next_mask[i]))
            row = (tuple(obs[i]), int(action[i, 0]), float(out.reward[i]), tuple(out.next_obs[i]))
            found[i].append((*row, bool(out.terminated[i]), bool(out.truncated[i]), *marks))
        obs, mask = out.obs, out.mask
    worlds.close()
    return found, episodes


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_the_same_transitions(kind: str, masks: bool) -> None:
    expected, _ = play(build("local", masks), 24)
    found, _ = play(build(kind, masks), 40)  # resets take steps of their own in mode NEXT_STEP
    for mine, theirs in zip(found, expected, strict=True):
        assert mine[: len(theirs)] == theirs


@pytest.mark.parametrize("masks", [False, True])
def test_the_transitions_are_what_the_script_says(masks: bool) -> None:
    found, episodes = play(build("local", masks), 30)
    for copy, rows in enumerate(found):
        episode = t = 0
        for obs, action, reward, next_obs, terminated, truncated, *marks in rows:
            assert obs == (copy, episode, t)
            assert next_obs == (copy, episode, t + 1)  # the true successor, also at the end
            assert reward == 100 * episode + 10 * t + action + 1  # the environment's actions start at 1
            over = t + 1 == Scripted.LENGTHS[(episode + copy) % 4]
            assert (terminated, truncated) == (over and episode % 2 == 0, over and episode % 2 == 1)
            for mark, time in zip(marks, (t, t + 1)):
                assert mark == tuple(np.arange(4) != (time + episode) % 4)
            assert len(marks) == 2 * masks
            episode, t = (episode + 1, 0) if over else (episode, t + 1)
    assert len(episodes) > 20
    assert {length for _, length in episodes} == set(Scripted.LENGTHS)


@pytest.mark.parametrize("kind", KINDS)
def test_returns_and_lengths_are_those_of_whole_episodes(kind: str) -> None:
    worlds = build(kind)
    worlds.reset([0] * N)
    episodes = []
    for _ in range(4):
        episodes += worlds.step(np.zeros((N, 1), np.int64)).episodes
    expected = {
        Scripted.LENGTHS[i]: sum(10.0 * t + 1 for t in range(Scripted.LENGTHS[i])) for i in range(N)
    }  # the first episode of each copy
    assert [e for e in episodes if (e[0], e[1]) in {(v, k) for k, v in expected.items()}]
    worlds.reset([0] * N)  # a barrier forgets what was half done
    assert not worlds.returns.any()
    assert not worlds.lengths.any()
    assert worlds.step(np.zeros((N, 1), np.int64)).episodes == [(1.0, 1)]  # the copy whose first episode has one step
    worlds.close()


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "CartPole-v1", "MountainCarContinuous-v0"])
def test_workers_have_the_bits_of_one_process(env_id: str) -> None:
    def run(workers: int) -> list[np.ndarray]:
        worlds = make_worlds(env_id, 4, workers)
        rng = numpy_stream(0, "actions")
        rows = [worlds.reset([1, 2, 3, 4])[0]]
        for _ in range(60):
            choices = rng.integers(0, 2, (4, 1)) if env_id == "CartPole-v1" else rng.uniform(-1, 1, (4, 1))
            out = worlds.step(choices.astype(np.int64 if env_id == "CartPole-v1" else np.float32))
            rows += [out.obs, out.next_obs, out.reward, out.terminated, out.truncated]
        worlds.close()
        return rows

    expected = run(0)
    for workers in (1, 3):
        for mine, theirs in zip(run(workers), expected, strict=True):
            assert mine.dtype == theirs.dtype
            np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_time_limit_truncates_and_nested_observations_arrive(workers: int) -> None:
    worlds = make_worlds("scripted:Counter-v0", 2, workers)
    obs, _ = worlds.reset([0, 1])
    assert [(p.name, p.stop - p.start) for p in worlds.spec.obs] == [("obs.t", 1), ("obs.parity", 2)]
    np.testing.assert_array_equal(obs, [[0, 1, 0]] * 2)
    for t in range(1, 11):
        out = worlds.step(np.array([[0.25, 1e3], [-0.5, 0]], np.float32))  # without bounds: in the environment's units
        assert not out.terminated.any()
        assert out.truncated.all() == (t % 5 == 0)
        np.testing.assert_array_equal(out.reward, [1000.25, -0.5])
        np.testing.assert_array_equal(out.next_obs[:, 0], [(t - 1) % 5 + 1] * 2)
        np.testing.assert_array_equal(out.obs[:, 0], [t % 5] * 2)
    assert out.episodes == [(5001.25, 5), (-2.5, 5)]
    worlds.close()


def test_a_persons_own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`module:Id-v0` with the module in the present folder, which need not be on the path."""
    (tmp_path / "mine_own.py").write_text(
        "import gymnasium\nfrom scripted import Counter\ngymnasium.register('Mine-v3', Counter)\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p not in ("", os.getcwd())])
    env = make_env("mine_own:Mine-v3")
    assert isinstance(env.unwrapped, Counter)
    with pytest.raises(ActrixError, match="unknown environment 'Mien-v3'") as caught:
        make_env("mine_own:Mien-v3")
    assert "Mine-v3" in caught.value.hint
    (tmp_path / "broken_one.py").write_text("import not_a_module_at_all\n")
    with pytest.raises(ActrixError, match="needs the module 'not_a_module_at_all'") as caught:
        make_env("broken_one:Mine-v3")
    assert not caught.value.misuse
    (tmp_path / "broken_two.py").write_text("1 / 0\n")
    with pytest.raises(ActrixError, match=r"'broken_two' .* could not be imported: ZeroDivisionError"):
        make_env("broken_two:Mine-v3")


def test_the_policy_is_not_let_loose_on_an_environment_when_it_is_not_finite() -> None:
    worlds = make_worlds("Pendulum-v1", 2)
    worlds.reset([0, 1])
    with pytest.raises(ActrixError, match="training diverged: the policy's action is not finite"):
        worlds.step(np.array([[0.0], [np.nan]], np.float32))
    worlds.close()


def test_large_but_finite_observations_are_no_fault() -> None:
    class Large(Scripted):
        def obs(self) -> np.ndarray:
            return np.array([3e38, 3e38, -3e38])

    worlds = LocalWorlds([Large], "Large")
    obs, _ = worlds.reset([0])
    assert np.isfinite(obs).all()
    worlds.close()


@pytest.mark.parametrize("kind", ["processes", "async"])
def test_no_worker_is_left(kind: str) -> None:
    import multiprocessing

    before = set(multiprocessing.active_children())
    worlds = build(kind)
    worlds.reset([0] * N)
    assert set(multiprocessing.active_children()) - before
    worlds.close()
    worlds.close()  # twice does no harm
    assert not set(multiprocessing.active_children()) - before


def test_an_environment_that_cannot_be_closed_does_no_harm() -> None:
    class Clingy(Scripted):
        def close(self) -> None:
            raise RuntimeError("no")

    worlds = LocalWorlds([Clingy], "Clingy")
    worlds.reset([0])
    worlds.close()


def test_missing_extras_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: Any, **kwargs: Any) -> None:
        raise ModuleNotFoundError("No module named 'mujoco'", name="mujoco")

    monkeypatch.setattr(gym, "make", missing)
    with pytest.raises(ActrixError, match="needs the module 'mujoco'") as caught:
        make_env("HalfCheetah-v5")
    assert caught.value.hint == "pip install 'actrix[mujoco]'"
