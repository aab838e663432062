"""EnvPool: environments in C++ threads, where that extra is installed (Weng et al. 2022, 2206.10558)."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv

from actrix.envs.worlds import VectorWorlds


def available(env_id: str) -> bool:
    """Whether EnvPool is installed and has this environment."""
    if importlib.util.find_spec("envpool") is None:
        return False
    import envpool

    return env_id in envpool.list_all_envs()


class Pool(VectorEnv):
    """EnvPool as a Gymnasium vector environment in mode NEXT_STEP.

    EnvPool takes its seeds when it is made, so `reset` with seeds makes it anew.
    """

    metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, env_id: str, n: int) -> None:
        self.env_id, self.num_envs = env_id, n
        self._pool = self._make(list(range(n)))
        self.single_observation_space = self._pool.observation_space
        self.single_action_space = self._pool.action_space

    def _make(self, seeds: list[int]) -> Any:
        import envpool

        return envpool.make(self.env_id, env_type="gymnasium", num_envs=self.num_envs, seed=seeds)

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            self._pool = self._make([int(s) for s in seed])
        obs, info = self._pool.reset()
        return obs, info

    def step(self, actions: Any) -> Any:
        return self._pool.step(actions)

    def close(self, **kwargs: Any) -> None:
        self._pool.close()


class PoolWorlds(VectorWorlds):
    """N environments of an EnvPool."""

    def __init__(self, env_id: str, n: int) -> None:
        super().__init__(Pool(env_id, n), env_id)

    def _reset(self, seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
        return super()._reset([int(s) % 2**31 for s in seeds])
