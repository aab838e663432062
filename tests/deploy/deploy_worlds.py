"""One-step environments with every kind of space, registered as `deploy_worlds:Deploy<Name>-v0`."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete

VECTOR = Box(-np.inf, np.inf, (5,), np.float32)
BOX = Box(-1.0, 1.0, (2,), np.float32)
UNEVEN = Box(np.array([-3.0, 0.5, 0.0], np.float32), np.array([1.0, 0.75, 200.0], np.float32))


class Spaces(gym.Env):
    def __init__(self, obs: gym.Space, action: gym.Space, masks: int = 0) -> None:
        self.observation_space, self.action_space, self.masks = obs, action, masks

    def _info(self) -> dict[str, Any]:
        return {"action_mask": self.np_random.random(self.masks) < 0.7} if self.masks else {}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), self._info()

    def post_decision(self, obs: Any, action: Any) -> Any:
        return obs

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, bool(self.np_random.random() < 0.1), False, self._info()


KINDS: dict[str, tuple[gym.Space, gym.Space, int]] = {
    "Plain": (VECTOR, BOX, 0),
    "Uneven": (VECTOR, UNEVEN, 0),
    "Matrix": (Box(-1, 1, (2, 3), np.float64), Box(-2.0, 1.0, (2, 2), np.float64), 0),
    "Unbounded": (VECTOR, Box(-np.inf, np.inf, (2,), np.float32), 0),
    "Whole": (VECTOR, Box(-3, 7, (2,), np.int32), 0),
    "Start": (VECTOR, Discrete(4, start=-2), 0),
    "Masked": (VECTOR, Discrete(4), 4),
    "Several": (VECTOR, MultiDiscrete([3, 2, 5]), 0),
    "Bits": (VECTOR, MultiBinary(3), 0),
    "Image": (Box(0, 255, (16, 16, 3), np.uint8), BOX, 0),
    "ImageChoice": (Box(0, 255, (1, 12, 12), np.uint8), Discrete(3), 0),
    "Dictionary": (Dict(speed=VECTOR, gear=Discrete(3, start=1), eye=Box(0, 255, (9, 9), np.uint8)), UNEVEN, 0),
    "DictionaryChoice": (Dict(speed=VECTOR, lamps=MultiBinary(2), place=MultiDiscrete([2, 3])), Discrete(3), 0),
}

for name, (obs, action, masks) in KINDS.items():
    gym.register(
        f"Deploy{name}-v0",
        entry_point=Spaces,
        kwargs={"obs": obs, "action": action, "masks": masks},
        max_episode_steps=20,
    )
