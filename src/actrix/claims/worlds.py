"""Small environments that only claims need, registered on import: `env="actrix.claims.worlds:TwoModes-v0"`."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.pendulum import PendulumEnv
from gymnasium.wrappers import TransformReward


class TwoModes(gym.Env):
    """A bandit with one action in [-1, 1]: the reward is the higher of two Gaussian bumps. An episode is one step.

    One bump is lower. Between equal ones, gradient ascent on the exact objective of a squashed Gaussian stays in a
    broad local optimum in the middle, whatever the learner; here it reaches the best projection from any wide start.
    """

    centres, heights, width = (-0.4, 0.4), (0.6, 1.0), 0.2

    def __init__(self) -> None:
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        return np.zeros(1, np.float32), float(two_modes(np.asarray(action))[0]), True, False, {}


def two_modes(action: np.ndarray) -> np.ndarray:
    """The reward of `TwoModes`: actions of any shape -> rewards of that shape."""
    bumps = zip(TwoModes.centres, TwoModes.heights)
    return np.max([h * np.exp(-((action - c) ** 2) / (2 * TwoModes.width**2)) for c, h in bumps], axis=0)


class NoisyChain(gym.Env):
    """Five steps whose rewards are N(0, std^2), whatever is done; then it ends. The distribution of every return is
    known: from position k on, its variance is std^2 times the sum of discount^(2 j) over the steps left."""

    length = 5

    def __init__(self, std: float) -> None:
        self.observation_space = gym.spaces.Box(0.0, 1.0, (self.length,), np.float32)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.std, self.at = std, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.at = 0
        return self.seen(), {}

    def seen(self) -> np.ndarray:
        return (np.arange(self.length) == self.at).astype(np.float32)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.at += 1
        return self.seen(), float(self.np_random.normal(0.0, self.std)), self.at == self.length, False, {}


def scaled_pendulum(scale: float) -> gym.Env:
    """Pendulum-v1 with its reward times `scale`."""
    return TransformReward(PendulumEnv(), lambda reward: scale * float(reward))


gym.register("TwoModes-v0", entry_point="actrix.claims.worlds:TwoModes")
for name, std in (("Quiet", 1.0), ("Loud", 10.0)):
    gym.register(f"{name}Chain-v0", entry_point="actrix.claims.worlds:NoisyChain", kwargs={"std": std})
for name, scale in (("Tenth", 0.1), ("Plain", 1.0), ("Tenfold", 10.0), ("Hundredfold", 100.0)):
    gym.register(
        f"{name}Pendulum-v1",
        entry_point="actrix.claims.worlds:scaled_pendulum",
        kwargs={"scale": scale},
        max_episode_steps=200,
    )
