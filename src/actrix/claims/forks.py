"""A plane with two forks, which one must look beyond: for claims on recorded data. Registered on import."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

STEP, REACH = 0.1, 0.15  # how far an action of 1 goes, and how near is there
PRIZES = (((-0.8, 0.0), 0.3), ((0.8, 0.8), 1.0), ((0.8, -0.8), 0.0))  # place, reward; each ends the episode
JUNCTION = (0.8, 0.0)


class Forks(gym.Env):
    """A point that starts in the middle. To the left lies a small prize; to the right a junction, from which the great
    prize is up and a pit is down. Observation: its place (x, y); action: its velocity. An episode ends at a prize or
    the pit, or after 50 steps."""

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-2.0, 2.0, (2,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.place = np.zeros(2)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-0.05, 0.05, 2)
        return self.place.astype(np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.place = np.clip(self.place + STEP * np.clip(action, -1.0, 1.0), -2.0, 2.0)
        for prize, reward in PRIZES:
            if np.hypot(*(self.place - prize)) < REACH:
                return self.place.astype(np.float32), reward, True, False, {}
        return self.place.astype(np.float32), 0.0, False, False, {}


gym.register("Forks-v0", entry_point="actrix.claims.forks:Forks", max_episode_steps=50)
