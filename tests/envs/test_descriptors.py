"""What an episode was like comes through every kind of worlds: at its end, as parts of its range, and nowhere else."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from actrix.envs.processes import ProcessWorlds
from actrix.envs.worlds import LocalWorlds, VectorWorlds, Worlds
from actrix.errors import ActrixError

N, LOW, HIGH = 3, np.array([-2.0, 0.0]), np.array([6.0, 40.0])


class Described(gym.Env):
    """Copy i's episodes last i + 2 steps, odd ones are cut off; the descriptor is [i, steps of all episodes so far]."""

    observation_space = spaces.Box(-10.0, 10.0, (1,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
    descriptor_space: Any = spaces.Box(LOW, HIGH, dtype=np.float64)

    def __init__(self, copy: int, wrong: Any = None, space: Any = None) -> None:
        self.copy, self.total, self.wrong = copy, 0, wrong
        if space is not None:
            self.descriptor_space = space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {"descriptor": np.array([5.0, 39.0])}  # of no episode

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.t, self.total = self.t + 1, self.total + 1
        ended, odd = self.t == self.copy + 2, self.copy % 2 == 1
        info: dict[str, Any] = {"descriptor": np.array([float(self.copy), float(self.total)])}
        if self.wrong is not None and ended:
            info = {} if isinstance(self.wrong, str) else {"descriptor": self.wrong}
        return np.full(1, self.t, np.float32), 1.0, ended and not odd, ended and odd, info


def build(kind: str, **options: Any) -> Worlds:
    makers = [lambda i=i: Described(i, **options) for i in range(N)]
    if kind == "local":
        return LocalWorlds(makers, "Described")
    if kind == "processes":
        return ProcessWorlds(makers, "Described", workers=2)
    if kind == "async":
        env: Any = AsyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    else:
        env = SyncVectorEnv(makers, autoreset_mode=AutoresetMode(kind))
    env.descriptor_space = Described.descriptor_space
    return VectorWorlds(env, "Described")


@pytest.mark.parametrize("kind", ["local", "processes", "async", *(mode.value for mode in AutoresetMode)])
def test_every_end_has_its_descriptor(kind: str) -> None:
    worlds = build(kind)
    assert worlds.spec.descriptor == 2
    worlds.reset(list(range(N)))
    made, ends = np.zeros(N), np.zeros(N, int)
    for _ in range(16):
        out = worlds.step(np.zeros((N, 1), np.float32))
        made += out.valid
        ended = (out.terminated | out.truncated) & out.valid
        if not ended.any():
            assert out.descriptor is None
            continue
        assert out.descriptor is not None
        assert np.isnan(out.descriptor[~ended]).all()
        for i in np.flatnonzero(ended):
            expected = (np.array([i, made[i]]) - LOW) / (HIGH - LOW)
            np.testing.assert_allclose(out.descriptor[i], expected, rtol=1e-6)
        ends += ended
    worlds.close()
    assert (ends >= 3).all()


@pytest.mark.parametrize("kind", ["local", "processes"])
@pytest.mark.parametrize("wrong", ["missing", np.zeros(3), np.array([1.0, np.nan])], ids=["missing", "three", "nan"])
def test_a_wrong_descriptor_is_named(kind: str, wrong: Any) -> None:
    worlds = build(kind, wrong=wrong)
    worlds.reset(list(range(N)))
    still = np.zeros((N, 1), np.float32)
    worlds.step(still)
    told = r"environment 0 \(Described\): the end of an episode has .*descriptor"
    with pytest.raises(ActrixError, match=told) as caught:
        worlds.step(still)
    assert "the 2 finite numbers" in caught.value.message
    worlds.close()


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.Box(-np.inf, np.inf, (2,)), spaces.Box(1.0, 1.0, (2,))])
def test_a_descriptor_space_without_a_range_is_refused(space: gym.Space) -> None:
    with pytest.raises(ActrixError, match="not a Box with finite bounds"):
        build("local", space=space)


def test_an_environment_that_does_not_describe_has_none() -> None:
    env = gym.make("Pendulum-v1", max_episode_steps=2)
    worlds = LocalWorlds([lambda: env], "Pendulum")
    worlds.reset([0])
    outs = [worlds.step(np.zeros((1, 1), np.float32)) for _ in range(2)]
    assert outs[1].truncated[0]
    assert all(out.descriptor is None for out in outs)
