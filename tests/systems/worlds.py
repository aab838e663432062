"""Small environments for the contract tests: every kind of action space, masks, vectors and images."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces

from actrix.data.formats import write_flat
from actrix.envs.flow import Moved
from actrix.envs.make import make_env
from actrix.run.collect import record

ACTIONS: dict[str, gym.Space] = {
    "box": spaces.Box(-2.0, 3.0, (2,), np.float32),
    "unbounded box": spaces.Box(-np.inf, np.inf, (2,), np.float32),
    "discrete": spaces.Discrete(4, start=3),
    "multidiscrete": spaces.MultiDiscrete([2, 3]),
    "multibinary": spaces.MultiBinary(3),
}
LENGTH = 7


class Small(gym.Env):
    """Random observations; episodes end, or are cut off. With `masked`, an illegal choice raises."""

    def __init__(self, kind: str = "discrete", image: bool = False, masked: bool = False) -> None:
        self.action_space = ACTIONS[kind]
        self.image, self.masked = image, masked
        if image:
            self.observation_space = spaces.Box(0, 255, (8, 8, 3), np.uint8)
        else:
            self.observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)

    descriptor_space = spaces.Box(0.0, 1.0, (2,), np.float32)

    def _see(self) -> tuple[Any, dict[str, Any]]:
        obs, info = self._look()
        return obs, {**info, "descriptor": self.np_random.random(2)}

    def _look(self) -> tuple[Any, dict[str, Any]]:
        draw = self.np_random
        if self.image:
            obs: Any = draw.integers(0, 256, (8, 8, 3), np.uint8)
        else:
            obs = np.float32(draw.normal(size=3))
        if not self.masked:
            return obs, {}
        sizes = [4] if isinstance(self.action_space, spaces.Discrete) else [2, 3]
        rows = []
        for n in sizes:
            row = draw.random(n) < 0.4
            row[draw.integers(n)] = True
            rows.append(row)
        self.legal = rows
        return obs, {"action_mask": np.concatenate(rows)}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return self._see()

    def flow(self, n: int, compile: bool) -> SmallFlow:
        return SmallFlow(n, self.action_space.shape[0], self.image)

    def post_decision(self, obs: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        return obs if self.image else obs + action.sum(-1, keepdim=True)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        if self.masked:
            choices = [action - 3] if isinstance(self.action_space, spaces.Discrete) else list(action)
            for choice, legal in zip(choices, self.legal):
                assert legal[choice], "an illegal choice"
        self.t += 1
        obs, info = self._see()
        return obs, float(np.sum(action)), bool(self.np_random.random() < 0.1), self.t >= LENGTH, info


class SmallFlow:
    """The same in tensors, but that an action shows in the next observation (of vectors)."""

    def __init__(self, n: int, actions: int, image: bool) -> None:
        self.n, self.image, self.shape = n, image, (n, 8 * 8 * 3 if image else 3)
        self.mix = torch.ones(actions, self.shape[1]) / 10

    def _draw(self) -> torch.Tensor:
        draw = torch.randint(256, self.shape, generator=self.random) if self.image else None
        return torch.randn(self.shape, generator=self.random) if draw is None else draw.to(torch.uint8)

    def reset(self, seeds: Sequence[int]) -> torch.Tensor:
        self.random = torch.Generator().manual_seed(sum(seeds))
        self.t, self.obs = torch.zeros(self.n), self._draw()
        return self.obs

    def step(self, action: torch.Tensor) -> Moved:
        self.t = self.t + 1
        reached = self._draw() if self.image else self._draw() + action @ self.mix
        terminated = torch.rand(self.n, generator=self.random) < 0.1
        truncated = (self.t >= LENGTH) & ~terminated
        ended = terminated | truncated
        self.t = torch.where(ended, 0, self.t)
        self.obs = torch.where(ended[:, None], self._draw(), reached)
        return Moved(self.obs, reached, action.sum(-1), terminated, truncated)

    def cut(self) -> torch.Tensor:
        self.obs = self.obs.detach()
        return self.obs


@cache
def recorded(env_id: str) -> tuple[str, ...]:
    """A data set of random actions in such an environment, for the systems that learn from data."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    env = make_env(env_id)
    played = record(lambda obs, mask: env.action_space.sample(), env, 8, 0)
    write_flat(folder / "data.npz", played, (env.observation_space, env.action_space), {"env": env_id})
    return (str(folder / "data.npz"),)


def name(kind: str, image: bool = False, masked: bool = False) -> str:
    """The id under which such an environment is registered."""
    words = [kind.title().replace(" ", ""), "Image" * image, "Masked" * masked]
    env_id = f"Small{''.join(words)}-v0"
    if env_id not in gym.registry:
        kwargs = {"kind": kind, "image": image, "masked": masked}
        gym.register(env_id, entry_point=Small, kwargs=kwargs)
    return env_id
