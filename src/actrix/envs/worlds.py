"""Several copies of one environment, stepped together, as canonical rows.

`LocalWorlds` steps environments in this process: on few cores the fastest for anything cheap. `VectorWorlds`
takes any `gymnasium.vector.VectorEnv` in any of its three autoreset modes, among them worker processes.
Both give the same `Outcome`, in which `next_obs` is always the true successor of what was acted on, and
`obs` is what to act on next.
"""

from __future__ import annotations

import _thread
import contextlib
import functools
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv

from actrix.envs.make import make_env
from actrix.envs.spaces import ActionMap, ObsMap
from actrix.errors import ActrixError
from actrix.spec import Choices, Spec

INTACT = "the run is intact up to its last checkpoint: mend the environment, then `actrix resume FOLDER`"


@dataclass
class Outcome:
    """One step of N environments."""

    obs: np.ndarray  # [N, D] what to act on next (the first of a new episode where one ended)
    next_obs: np.ndarray  # [N, D] the successor of what was acted on
    reward: np.ndarray  # [N] float32
    terminated: np.ndarray  # [N] bool
    truncated: np.ndarray  # [N] bool
    valid: np.ndarray  # [N] bool: False where the step was only a reset and is no experience
    mask: np.ndarray | None = None  # [N, C] bool: legal choices in `obs`
    next_mask: np.ndarray | None = None  # [N, C] bool: legal choices in `next_obs`
    episodes: list[tuple[float, int]] = field(default_factory=list)  # (return, length) of those that ended


class Worlds:
    """Base: the maps, the bookkeeping of returns, and the checks on what environments return."""

    def __init__(self, name: str, n: int, observation_space: gym.Space, action_space: gym.Space) -> None:
        self.name, self.n = name, n
        self.observation_space, self.action_space = observation_space, action_space
        self.obs_map, self.action_map = ObsMap(observation_space), ActionMap(action_space)
        self.spec = Spec(self.obs_map.parts, self.action_map.spec, self.obs_map.dtype.name)
        self.returns, self.lengths = np.zeros(n), np.zeros(n, np.int64)

    def reset(self, seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
        """Start every environment anew from its seed: (obs [N, D], mask [N, C] or None)."""
        self.returns[:], self.lengths[:] = 0.0, 0
        obs, mask = self._reset(seeds)
        self._finite("observation", obs, "reset")
        return obs, mask

    def step(self, action: np.ndarray) -> Outcome:
        """Take canonical actions [N, A]."""
        out = self._step(action)
        self._finite("observation", out.next_obs, "step")
        self._finite("observation", out.obs, "reset")
        self._finite("reward", out.reward[:, None], "step")
        self.returns += out.reward
        self.lengths += out.valid
        ended = (out.terminated | out.truncated) & out.valid
        if ended.any():
            for i in np.flatnonzero(ended):
                out.episodes.append((float(self.returns[i]), int(self.lengths[i])))
            self.returns[ended], self.lengths[ended] = 0.0, 0
        return out

    def _finite(self, what: str, rows: np.ndarray, where: str) -> None:
        # one pass over the numbers: a sum is finite only if all are (up to overflow, which is looked into)
        if rows.dtype == np.uint8 or np.isfinite(rows.sum()):
            return
        bad = np.argwhere(~np.isfinite(rows))
        if len(bad):
            i, column = bad[0]
            index = f"[{column}]" if what == "observation" else ""
            raise ActrixError(
                f"environment {i} ({self.name}) returned a {what}{index} of {rows[i, column]} from {where}", INTACT
            )

    def _reset(self, seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
        raise NotImplementedError

    def _step(self, action: np.ndarray) -> Outcome:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class Watchdog:
    """Ends a step that hangs: Python code is interrupted, compiled code (which cannot be) ends the process."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.deadline: float | None = None
        self.fired = False
        self.what = ""
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._watch, daemon=True, name="actrix-watchdog")
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def _watch(self) -> None:
        pause = min(1.0, self.seconds / 4)
        while not self._stop.wait(pause):
            deadline = self.deadline
            if deadline is None or time.monotonic() < deadline:
                continue
            self.fired, self.deadline = True, None
            _thread.interrupt_main()
            if self._stop.wait(5.0) or not self.fired:
                continue
            sys.stderr.write(f"error: {self.what} did not return within {self.seconds:g} s\n{INTACT}\n")
            sys.stderr.flush()
            os._exit(1)


class LocalWorlds(Worlds):
    """N environments in this process. `timeout`: seconds after which a call counts as hung."""

    def __init__(self, makers: Sequence[Callable[[], gym.Env]], name: str, timeout: float = 60.0) -> None:
        self.envs = [make() for make in makers]
        first = self.envs[0]
        super().__init__(name, len(self.envs), first.observation_space, first.action_space)
        self._watchdog = Watchdog(timeout)
        if threading.current_thread() is threading.main_thread():
            self._watchdog.start()

    @contextlib.contextmanager
    def _guard(self, what: str) -> Iterator[None]:
        dog = self._watchdog
        dog.what, dog.deadline = f"{self.name}: {what}", time.monotonic() + dog.seconds
        try:
            yield
        except KeyboardInterrupt:
            if not dog.fired:
                raise
            dog.fired = False
            raise ActrixError(
                f"environment {self._at} ({self.name}): {what} did not return within {dog.seconds:g} s", INTACT
            ) from None
        except ActrixError:
            raise
        except Exception as error:
            raise ActrixError(
                f"environment {self._at} ({self.name}): {what} raised {type(error).__name__}: {error}", INTACT
            ) from error
        finally:
            dog.deadline = None

    _at = 0

    def _mask(self, infos: list[dict[str, Any]]) -> np.ndarray | None:
        if not isinstance(self.action_map.spec, Choices) or "action_mask" not in infos[0]:
            return None
        rows = [np.asarray(info["action_mask"], bool).reshape(-1) for info in infos]
        width = sum(self.action_map.spec.sizes)
        for i, row in enumerate(rows):
            if len(row) != width:
                raise ActrixError(
                    f"environment {i} ({self.name}): info['action_mask'] has {len(row)} entries, not {width}", INTACT
                )
        return np.stack(rows)

    def _reset(self, seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
        obs, infos = np.empty((self.n, self.obs_map.size), self.obs_map.dtype), []
        with self._guard("reset"):
            for i, (env, seed) in enumerate(zip(self.envs, seeds)):
                self._at = i
                value, info = env.reset(seed=int(seed))
                self.obs_map.write(value, obs[i])
                infos.append(info)
        return obs, self._mask(infos)

    def _step(self, action: np.ndarray) -> Outcome:
        n, write, to_env = self.n, self.obs_map.write, self.action_map.to_env
        next_obs = np.empty((n, self.obs_map.size), self.obs_map.dtype)
        reward, terminated, truncated = np.empty(n, np.float32), np.empty(n, bool), np.empty(n, bool)
        infos: list[dict[str, Any]] = []
        with self._guard("step"):
            for i, env in enumerate(self.envs):
                self._at = i
                value, reward[i], terminated[i], truncated[i], info = env.step(to_env(action[i]))
                write(value, next_obs[i])
                infos.append(info)
        obs = next_obs
        mask = next_mask = self._mask(infos)
        ended = terminated | truncated
        if ended.any():
            obs = next_obs.copy()
            with self._guard("reset"):
                for i in np.flatnonzero(ended).tolist():
                    self._at = i
                    value, infos[i] = self.envs[i].reset()
                    write(value, obs[i])
            mask = self._mask(infos)
        return Outcome(obs, next_obs, reward, terminated, truncated, np.ones(n, bool), mask, next_mask)

    def close(self) -> None:
        self._watchdog.stop()
        for env in self.envs:
            env.close()


class VectorWorlds(Worlds):
    """Any vector environment, in any autoreset mode.

    In mode NEXT_STEP the step after an end is only a reset: it comes back with `valid` False.
    """

    def __init__(self, env: VectorEnv, name: str, timeout: float = 60.0) -> None:
        super().__init__(name, env.num_envs, env.single_observation_space, env.single_action_space)
        self.env, self.timeout = env, timeout
        self.mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._was_done = np.zeros(self.n, bool)

    def _call(self, what: str, *args: Any, **kwargs: Any) -> Any:
        try:
            if isinstance(self.env, AsyncVectorEnv):
                getattr(self.env, f"{what}_async")(*args, **kwargs)
                return getattr(self.env, f"{what}_wait")(timeout=self.timeout)
            return getattr(self.env, what)(*args, **kwargs)
        except multiprocessing.TimeoutError as error:
            self._abandon()
            raise ActrixError(
                f"a worker of {self.name}: {what} did not return within {self.timeout:g} s", INTACT
            ) from error
        except (EOFError, BrokenPipeError, ConnectionResetError) as error:
            self._abandon()
            raise ActrixError(f"a worker process of {self.name} died during {what}", INTACT) from error
        except ActrixError:
            raise
        except Exception as error:
            self._abandon()
            raise ActrixError(
                f"a worker of {self.name}: {what} raised {type(error).__name__}: {error}", INTACT
            ) from error

    def _abandon(self) -> None:
        if isinstance(self.env, AsyncVectorEnv):
            with contextlib.suppress(Exception):
                self.env.close(terminate=True)

    def _rows(self, obs: Any) -> np.ndarray:
        rows = np.empty((self.n, self.obs_map.size), self.obs_map.dtype)
        if self.obs_map.plain is not None:
            rows[:] = np.asarray(obs).reshape(self.n, -1)
        else:
            items = list(gym.vector.utils.iterate(self.env.observation_space, obs))
            for i, item in enumerate(items):
                self.obs_map.write(item, rows[i])
        return rows

    def _mask(self, infos: dict[str, Any]) -> np.ndarray | None:
        if not isinstance(self.action_map.spec, Choices) or "action_mask" not in infos:
            return None
        value = infos["action_mask"]
        return np.stack([np.asarray(row, bool).reshape(-1) for row in value])

    def _reset(self, seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
        obs, infos = self._call("reset", seed=[int(s) for s in seeds])
        self._was_done[:] = False
        return self._rows(obs), self._mask(infos)

    def _step(self, action: np.ndarray) -> Outcome:
        space = self.env.single_action_space
        out: Any = gym.vector.utils.create_empty_array(space, self.n)
        joint = gym.vector.utils.concatenate(space, [self.action_map.to_env(row) for row in action], out)
        raw, reward, terminated, truncated, infos = self._call("step", joint)
        next_obs = self._rows(raw)
        reward = np.asarray(reward, np.float32)
        terminated, truncated = np.asarray(terminated, bool), np.asarray(truncated, bool)
        ended = terminated | truncated
        mask = next_mask = self._mask(infos)
        valid, obs = np.ones(self.n, bool), next_obs
        if self.mode == AutoresetMode.NEXT_STEP:
            valid = ~self._was_done
            reward = np.where(valid, reward, np.float32(0.0))
            terminated, truncated = terminated & valid, truncated & valid
        elif ended.any() and self.mode == AutoresetMode.SAME_STEP:
            next_obs = next_obs.copy()
            for i in np.flatnonzero(ended):
                self.obs_map.write(infos["final_obs"][i], next_obs[i])
        elif ended.any():
            raw, infos = self._call("reset", options={"reset_mask": ended})
            obs = np.where(ended[:, None], self._rows(raw), next_obs)
            new = self._mask(infos)
            if mask is not None and new is not None:
                mask = np.where(ended[:, None], new, mask)
        self._was_done = ended & valid
        return Outcome(obs, next_obs, reward, terminated, truncated, valid, mask, next_mask)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.env.close()


def make_worlds(env_id: str, n: int = 1, workers: int = 0, timeout: float = 60.0) -> Worlds:
    """N copies of an environment: in this process, or one in each of `workers` processes (then n = workers)."""
    makers = [functools.partial(make_env, env_id) for _ in range(max(n, workers))]
    if workers == 0:
        return LocalWorlds(makers, env_id, timeout)
    make_env(env_id).close()  # say here, not in a worker's traceback, what is wrong with the id
    env = AsyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)
    return VectorWorlds(env, env_id, timeout)
