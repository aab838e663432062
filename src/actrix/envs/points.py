"""A point that moves freely over a plane, by velocity: several goals that are as good as each other.

    MultiGoal  four goals at a distance of 5 from the middle, right, left, up and down; the plane is [-7, 7]^2. The
               point starts near the middle (N(0, 0.1^2) per axis) and goes by the action, at most 1 per axis and step.
               Each step costs the distance to the nearest goal (from where the point then is); to come within 1 of a
               goal pays 10 and is the end. Cut off after 30 steps. As in Haarnoja et al. 2017 (1702.08165), without
               the cost of actions.

Observations are places, divided so that they lie in [-1, 1]. Id, of `actrix.envs.points`: MultiGoal-v0.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class MultiGoal(gym.Env):
    """See the head of this file."""

    goals = np.array([[5.0, 0.0], [-5.0, 0.0], [0.0, 5.0], [0.0, -5.0]])
    side, spread, reach, prize, limit = 7.0, 0.1, 1.0, 10.0, 30

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.place, self.clock = self.np_random.normal(0.0, self.spread, 2), 0
        return self._seen(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.place = np.clip(self.place + np.clip(action, -1.0, 1.0), -self.side, self.side)
        self.clock += 1
        far = float(np.linalg.norm(self.goals - self.place, axis=1).min())
        there = far < self.reach
        return self._seen(), self.prize * there - far, there, self.clock >= self.limit and not there, {}

    def _seen(self) -> np.ndarray:
        return (self.place / self.side).astype(np.float32)


def goal_at(obs: np.ndarray) -> np.ndarray:
    """The number of the goal of `MultiGoal` that is reached at observations [N, 2], -1 where none is: [N] int64."""
    far = np.linalg.norm(np.asarray(obs)[:, None] * MultiGoal.side - MultiGoal.goals, axis=-1)
    return np.where(far.min(1) < MultiGoal.reach + 1e-5, far.argmin(1), -1)


gym.register("MultiGoal-v0", entry_point="actrix.envs.points:MultiGoal")
