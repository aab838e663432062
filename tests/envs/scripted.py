"""Environments whose every number is known beforehand. Import as `scripted:Scripted-v0`."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Scripted(gym.Env):
    """Episode number e of copy i lasts LENGTHS[(e + i) % 4] steps; every other episode is cut off, not finished.

    Observation [copy, episode, t]; reward 100 e + 10 t + action; the action taken at t must not be (t + e) % 4.
    """

    LENGTHS = (3, 1, 4, 2)

    def __init__(self, copy: int = 0, masks: bool = False) -> None:
        self.observation_space = spaces.Box(-1, 1e6, (3,), np.float64)
        self.action_space = spaces.Discrete(4, start=1)
        self.copy, self.masks, self.episode, self.seeds = copy, masks, -1, []

    def obs(self) -> np.ndarray:
        return np.array([self.copy, self.episode, self.t], np.float64)

    def info(self) -> dict[str, Any]:
        return {"action_mask": (np.arange(4) != (self.t + self.episode) % 4).astype(np.int8)} if self.masks else {}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode = 0 if seed is not None else self.episode + 1
        self.seeds.append(seed)
        self.t = 0
        return self.obs(), self.info()

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if self.masks:
            assert action - 1 != (self.t + self.episode) % 4, "an illegal action"
        reward = 100.0 * self.episode + 10.0 * self.t + float(action)
        self.t += 1
        over = self.t >= self.LENGTHS[(self.episode + self.copy) % 4]
        cut = bool(self.episode % 2)
        return self.obs(), reward, over and not cut, over and cut, self.info()


class Counter(gym.Env):
    """Never ends by itself; the observation is the time."""

    def __init__(self) -> None:
        self.observation_space = spaces.Dict(t=spaces.Box(0, np.inf, (1,)), parity=spaces.Discrete(2))
        self.action_space = spaces.Box(-np.inf, np.inf, (2,))

    def obs(self) -> dict[str, Any]:
        return {"t": np.array([self.t], np.float32), "parity": self.t % 2}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self.obs(), {}

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.t += 1
        return self.obs(), float(np.sum(action)), False, False, {}


if "Scripted-v0" not in gym.registry:
    gym.register("Scripted-v0", Scripted)
    gym.register("ScriptedMasks-v0", Scripted, kwargs={"masks": True})
    gym.register("Counter-v0", Counter, max_episode_steps=5)
