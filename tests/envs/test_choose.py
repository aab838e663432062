"""In process or in workers: what is measured decides."""

from __future__ import annotations

import os
import time
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from actrix.envs.choose import measured_workers
from actrix.run.regimes import settled
from actrix.run.trainer import RunOptions
from actrix.systems.control.ppo import Config


class Idle(gym.Env):
    """Takes `seconds` for a step, without computing: workers wait side by side, whatever else the machine does."""

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        time.sleep(self.seconds)
        return np.zeros(2, np.float32), 0.0, False, False, {}


gym.register("Waits-v0", entry_point=Idle, kwargs={"seconds": 0.03})
gym.register("Quick-v0", entry_point=Idle, kwargs={"seconds": 0.0})
CORES = len(os.sched_getaffinity(0))


@pytest.mark.skipif(CORES < 2, reason="one core")
def test_slow_environments_get_workers_and_quick_ones_do_not() -> None:
    assert measured_workers("test_choose:Waits-v0", 4) == min(4, CORES)
    assert measured_workers("test_choose:Quick-v0", 4) == 0
    assert measured_workers("test_choose:Waits-v0", 1) == 0


@pytest.mark.skipif(CORES < 2, reason="one core")
def test_a_run_measures_once_and_says_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    options = RunOptions(env="test_choose:Waits-v0", steps=50_000).resolved()
    chosen = settled(options, Config(envs=4))
    assert chosen.workers == min(4, CORES)
    monkeypatch.setattr("actrix.run.regimes.measured_workers", lambda *_: pytest.fail("measured again"))
    assert settled(chosen, Config(envs=4)) == chosen  # as in config.json, from which a run is resumed
    assert settled(RunOptions(env="test_choose:Waits-v0", steps=500).resolved(), Config(envs=4)).workers == 0
    told = RunOptions(env="test_choose:Waits-v0", steps=50_000, workers=0).resolved()
    assert settled(told, Config(envs=4)).workers == 0
