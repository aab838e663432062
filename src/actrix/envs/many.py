"""Many of one environment, stepped in this process, as one, in an EnvPool, or in worker processes."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import gymnasium as gym
from gymnasium.vector import VectorEnv

from actrix.envs.make import ZOO, make_env, parted, unmade
from actrix.envs.pool import PoolWorlds
from actrix.envs.processes import ProcessWorlds
from actrix.envs.teams import maker
from actrix.envs.worlds import LocalWorlds, VectorWorlds, Worlds
from actrix.errors import ActrixError
from actrix.outside import import_outside


def batched(env_id: str) -> Callable[[int], VectorEnv] | None:
    """What makes N of this environment that are stepped as one, or None.

    An environment class offers it as `batched(n, **kwargs) -> VectorEnv`. Its `reset` takes one seed for each, and
    every one of them does what it would do alone with that seed.
    """
    module, name, given = parted(env_id)
    if module == ZOO:
        return getattr(maker(name), "batched", None)
    if module:
        import_outside(module, f"environment {env_id!r}")
    spec = gym.registry.get(name)
    if spec is None or spec.entry_point is None or spec.max_episode_steps is not None or spec.additional_wrappers:
        return None  # wrappers wrap single environments
    made: Any = spec.entry_point
    if isinstance(made, str):
        try:
            made = gym.envs.registration.load_env_creator(made)
        except Exception:  # `make_env` says what is wrong with it
            return None
    offer = getattr(made, "batched", None)
    return None if offer is None else functools.partial(offer, **{**spec.kwargs, **given})


def make_worlds(env_id: str, n: int = 1, workers: int = 0, timeout: float = 60.0, vector: str = "local") -> Worlds:
    """N copies of an environment: in this process, in one that steps them all at once (`vector="batched"`, see
    `batched`), in an EnvPool (`vector="envpool"`), or shared out among worker processes (at least one each)."""
    if vector == "batched" and workers == 0:
        offer = batched(env_id)
        if offer is None:
            raise ActrixError(f"{env_id} cannot step many at once", "leave out --vector batched", misuse=True)
        try:
            made = offer(n)
        except ActrixError:
            raise
        except Exception as error:
            raise unmade(env_id, error) from error
        return VectorWorlds(made, env_id, timeout)
    if vector == "envpool" and workers == 0:
        return PoolWorlds(env_id, n)
    makers = [functools.partial(make_env, env_id) for _ in range(max(n, workers))]
    if workers == 0:
        return LocalWorlds(makers, env_id, timeout)
    return ProcessWorlds(makers, env_id, workers, timeout)
