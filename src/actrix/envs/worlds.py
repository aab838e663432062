"""Several copies of one environment, stepped together, as canonical rows.

`LocalWorlds` steps environments in this process: on few cores the fastest for anything cheap. `ProcessWorlds` (see
`envs.processes`) does the same in worker processes, with the same bits. `VectorWorlds` takes any
`gymnasium.vector.VectorEnv` in any of its three autoreset modes. All give the same `Outcome`, in which `next_obs`
is always the true successor of what was acted on, and `obs` is what to act on next.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from torch import Tensor

from actrix.envs.flow import Flow
from actrix.envs.spaces import ActionMap, ObsMap
from actrix.envs.watchdog import INTACT, WATCHDOG
from actrix.errors import ActrixError, brief
from actrix.spec import Choices, Spec


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
    descriptor: np.ndarray | None = None
    """[N, K] float32, as parts of the descriptor space's range: what each episode that ended was like; other rows are
    NaN. None where none ended, or the environment does not describe its episodes."""


class Worlds:
    """Base: the maps, the bookkeeping of returns, and the checks on what environments return."""

    timeout = 0.0  # seconds after which a call counts as hung; 0 does not watch
    first = 0  # the number of the first environment, where these are some of many
    _hung = False

    def __init__(
        self,
        name: str,
        n: int,
        observation_space: gym.Space,
        action_space: gym.Space,
        descriptor_space: gym.Space | None = None,
    ) -> None:
        """descriptor_space: a bounded Box, where the environment gives `info["descriptor"]` at an episode's end."""
        self.name, self.n = name, n
        self.descriptor_space = measurable(name, descriptor_space)
        self.observation_space, self.action_space = observation_space, action_space
        self.obs_map, self.action_map = ObsMap(observation_space), ActionMap(action_space)
        width = 0 if self.descriptor_space is None else int(np.prod(self.descriptor_space.shape))
        self.spec = Spec(self.obs_map.parts, self.action_map.spec, self.obs_map.dtype.name, descriptor=width)
        self.returns, self.lengths = np.zeros(n), np.zeros(n, np.int64)
        # how the reward of a stage of a curriculum follows from a transition, where the environment says so
        self.reward_at: Callable[[int], Callable[[Any], Any]] | None = None
        # (n, compile) -> Flow, where the environment's steps let gradients through (see `envs.flow`)
        self.flow: Callable[[int, bool], Flow] | None = None
        # (obs [N, D], canonical action [N, A]) -> [N, D], what an action makes of a state before chance does the rest,
        # where the environment says so
        self.post_decision: Callable[[Tensor, Tensor], Tensor] | None = None
        # (obs [N, D], canonical action [N, A] that is about to be done) -> (whether somebody would rather take over [N]
        # bool, what they would do instead [N, A]), where the environment has such a supervisor
        self.supervise: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None
        self.masked: bool | None = None  # whether there are action masks; known after the first reset

    def reset(self, seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
        """Start every environment anew from its seed: (obs [N, D], mask [N, C] or None)."""
        self.returns[:], self.lengths[:] = 0.0, 0
        with np.errstate(all="ignore"):
            obs, mask = self._reset(seeds)
            self.finite("observation", obs, "reset")
        self._legal(mask)
        return obs, mask

    def step(self, action: np.ndarray) -> Outcome:
        """Take canonical actions [N, A]."""
        with np.errstate(all="ignore"):  # what overflows is found below, and named
            if action.dtype.kind == "f" and not np.isfinite(action).all():
                raise ActrixError(
                    "training diverged: the policy's action is not finite",
                    "the run is intact up to its last checkpoint; start a new one with a lower learning rate",
                )
            out = self._step(action)
            self.finite("observation", out.next_obs, "step")
            if out.obs is not out.next_obs:
                self.finite("observation", out.obs, "reset")
            self.finite("reward", out.reward[:, None], "step")
        if out.mask is not None or self.masked:
            self._legal(out.mask)
        self.returns += out.reward
        self.lengths += out.valid
        ended = (out.terminated | out.truncated) & out.valid
        if ended.any():
            for i in np.flatnonzero(ended):
                out.episodes.append((float(self.returns[i]), int(self.lengths[i])))
            self.returns[ended], self.lengths[ended] = 0.0, 0
        return out

    def finite(self, what: str, rows: np.ndarray, where: str) -> None:
        # one pass over the numbers: a sum is finite only if all are (up to overflow, which is looked into)
        if rows.dtype == np.uint8 or np.isfinite(rows.sum()):
            return
        bad = np.argwhere(~np.isfinite(rows))
        if len(bad):
            i, column = bad[0]
            name = f"observation[{column}] of" if what == "observation" else "reward of"
            raise ActrixError(f"environment {i} ({self.name}): {where} returned {name} {rows[i, column]}", INTACT)

    def _legal(self, mask: np.ndarray | None) -> None:
        """An action mask is always there or never, and leaves something to choose."""
        if self.masked is None:
            self.masked = mask is not None
        if (mask is not None) != self.masked:
            raise ActrixError(f"{self.name}: info['action_mask'] is there at some steps and missing at others", INTACT)
        spec = self.action_map.spec
        if mask is not None and isinstance(spec, Choices):
            starts = np.concatenate(([0], np.cumsum(spec.sizes)[:-1]))
            empty = np.flatnonzero(~np.logical_or.reduceat(mask, starts, axis=1).all(axis=1))
            if len(empty):
                raise ActrixError(
                    f"environment {empty[0]} ({self.name}): info['action_mask'] leaves no legal action", INTACT
                )

    def _row_mask(self, i: int, value: Any) -> np.ndarray:
        """One environment's `info["action_mask"]`, an array or one for each choice, as a row [C] bool."""
        spec = self.action_map.spec
        assert isinstance(spec, Choices)
        parts = value if isinstance(value, tuple | list) else [value]
        row = np.concatenate([np.asarray(part).astype(bool).reshape(-1) for part in parts])
        if len(row) != sum(spec.sizes):
            raise ActrixError(
                f"environment {i} ({self.name}): info['action_mask'] has {len(row)} entries, not {sum(spec.sizes)}",
                INTACT,
            )
        return row

    def _describe(self, ended: np.ndarray, given: Sequence[Any] | np.ndarray | None) -> np.ndarray | None:
        """Descriptors as parts of their range [N, K]; see `Outcome`. `given`: `info["descriptor"]` by environment."""
        if self.descriptor_space is None or not ended.any():
            return None
        low, high = (
            edge.astype(np.float64).reshape(-1) for edge in (self.descriptor_space.low, self.descriptor_space.high)
        )
        found = np.full((self.n, len(low)), np.nan, np.float32)
        for i in np.flatnonzero(ended).tolist():
            value = None if given is None or given[i] is None else np.asarray(given[i], np.float64).reshape(-1)
            if value is None or value.shape != low.shape or not np.isfinite(value).all():
                what = "has no info['descriptor']" if value is None else f"has info['descriptor'] = {value.tolist()}"
                raise ActrixError(
                    f"environment {self.first + i} ({self.name}): the end of an episode {what}, "
                    f"not the {len(low)} finite numbers of its descriptor_space",
                    INTACT,
                )
            found[i] = (value - low) / (high - low)
        return found

    @contextlib.contextmanager
    def _guard(self, what: str) -> Iterator[None]:
        """Calls inside are watched (see `envs.watchdog`), and what they raise becomes an ActrixError."""
        watched = self.timeout > 0 and WATCHDOG.begin(self.timeout, self.name, what)
        raised: BaseException | None = None
        try:
            yield
        except (Exception, KeyboardInterrupt, SystemExit) as error:
            raised = error
        late = watched and WATCHDOG.end()
        if late:
            self._hung = True
            raise ActrixError(f"{self._whose()}: {what} did not return within {self.timeout:g} s", INTACT) from None
        if isinstance(raised, ActrixError | KeyboardInterrupt):
            raise raised
        if raised is not None:
            raise ActrixError(f"{self._whose()}: {what} raised {brief(raised)}", INTACT) from raised

    def _whose(self) -> str:
        """Which environment is at fault, as an error says it."""
        return self.name

    def _reset(self, seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
        raise NotImplementedError

    def _step(self, action: np.ndarray) -> Outcome:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def measurable(name: str, space: gym.Space | None) -> gym.spaces.Box | None:
    """The space of an environment's descriptors, or None; ActrixError where it has no range to be measured in."""
    if space is None:
        return None
    if (
        not isinstance(space, gym.spaces.Box)
        or not (np.isfinite(space.high - space.low) & (space.high > space.low)).all()
    ):
        raise ActrixError(f"{name}: its descriptor_space is {space}, not a Box with finite bounds", INTACT)
    return space


class LocalWorlds(Worlds):
    """N environments in this process.

    timeout: seconds after which a call counts as hung (see `envs.watchdog`); 0 does not watch.
    first: the number of the first one, where these are some of many.
    """

    def __init__(
        self, makers: Sequence[Callable[[], gym.Env]], name: str, timeout: float = 60.0, first: int = 0
    ) -> None:
        self.name, self.timeout, self.first = name, timeout, first
        self._at = 0
        self.envs: list[gym.Env] = []
        with self._guard("making it"):
            for self._at, make in enumerate(makers):
                self.envs.append(make())
        one = self.envs[0]
        descriptor_space = getattr(one.unwrapped, "descriptor_space", None)
        super().__init__(name, len(self.envs), one.observation_space, one.action_space, descriptor_space)
        self.reward_at = getattr(one.unwrapped, "reward_at", None)
        self.flow = getattr(one.unwrapped, "flow", None)
        self.post_decision = getattr(one.unwrapped, "post_decision", None)
        self.supervise = getattr(one.unwrapped, "supervise", None)

    def _whose(self) -> str:
        return f"environment {self.first + self._at} ({self.name})"

    def _mask(self, infos: list[dict[str, Any]]) -> np.ndarray | None:
        if not isinstance(self.action_map.spec, Choices) or not any("action_mask" in info for info in infos):
            return None
        for i, info in enumerate(infos):
            if "action_mask" not in info:
                raise ActrixError(
                    f"environment {self.first + i} ({self.name}): info['action_mask'] is missing, others have it",
                    INTACT,
                )
        return np.stack([self._row_mask(self.first + i, info["action_mask"]) for i, info in enumerate(infos)])

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
        described = None if self.descriptor_space is None else [info.get("descriptor") for info in infos]
        descriptor = self._describe(ended, described)
        if ended.any():
            obs = next_obs.copy()
            with self._guard("reset"):
                for i in np.flatnonzero(ended).tolist():
                    self._at = i
                    value, infos[i] = self.envs[i].reset()
                    write(value, obs[i])
            mask = self._mask(infos)
        everyone = np.ones(n, bool)
        return Outcome(obs, next_obs, reward, terminated, truncated, everyone, mask, next_mask, descriptor=descriptor)

    def close(self) -> None:
        if self._hung:
            return
        with contextlib.suppress(ActrixError), self._guard("close"):
            for env in self.envs:
                env.close()


class VectorWorlds(Worlds):
    """Any vector environment, in any autoreset mode.

    In mode NEXT_STEP the step after an end is only a reset: it comes back with `valid` False.
    """

    def __init__(self, env: VectorEnv, name: str, timeout: float = 60.0) -> None:
        descriptor_space = getattr(env.unwrapped, "descriptor_space", None)
        super().__init__(name, env.num_envs, env.single_observation_space, env.single_action_space, descriptor_space)
        self.env, self.timeout = env, timeout
        self.reward_at = getattr(env.unwrapped, "reward_at", None)
        self.flow = getattr(env.unwrapped, "flow", None)
        self.post_decision = getattr(env.unwrapped, "post_decision", None)
        self.supervise = getattr(env.unwrapped, "supervise", None)
        self.mode = AutoresetMode(env.metadata.get("autoreset_mode", AutoresetMode.NEXT_STEP))
        self._was_done = np.zeros(self.n, bool)

    def _call(self, what: str, *args: Any, **kwargs: Any) -> Any:
        with self._guard(what):
            return getattr(self.env, what)(*args, **kwargs)

    def _rows(self, obs: Any) -> np.ndarray:
        return self.obs_map.rows(obs)

    def _mask(self, infos: dict[str, Any], of: np.ndarray) -> np.ndarray | None:
        """Masks [N, C] of the environments in `of` [N] bool (the rest are all True); None where there are none."""
        if not isinstance(self.action_map.spec, Choices) or "action_mask" not in infos:
            return None
        rows = np.ones((self.n, sum(self.action_map.spec.sizes)), bool)
        given = infos["action_mask"]
        if isinstance(given, np.ndarray) and given.shape == rows.shape:
            rows[of] = given[of]
            return rows
        for i in np.flatnonzero(of):
            rows[i] = self._row_mask(int(i), given[i])
        return rows

    def _reset(self, seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
        obs, infos = self._call("reset", seed=[int(s) for s in seeds])
        self._was_done[:] = False
        return self._rows(obs), self._mask(infos, np.ones(self.n, bool))

    def _step(self, action: np.ndarray) -> Outcome:
        raw, reward, terminated, truncated, infos = self._call("step", self.action_map.to_env_rows(action))
        next_obs = self._rows(raw)
        reward = np.asarray(reward, np.float32)
        terminated, truncated = np.asarray(terminated, bool), np.asarray(truncated, bool)
        ended = terminated | truncated
        everyone = np.ones(self.n, bool)
        mask = next_mask = self._mask(infos, everyone)
        valid, obs = everyone, next_obs
        last = infos.get("final_info", {}) if self.mode == AutoresetMode.SAME_STEP else infos
        if self.mode == AutoresetMode.NEXT_STEP:
            valid = ~self._was_done
            reward = np.where(valid, reward, np.float32(0.0))
            terminated, truncated = terminated & valid, truncated & valid
        elif ended.any() and self.mode == AutoresetMode.SAME_STEP:
            next_obs = next_obs.copy()
            for i in np.flatnonzero(ended):
                self.obs_map.write(infos["final_obs"][i], next_obs[i])
            final = self._mask(infos.get("final_info", {}), ended)
            if next_mask is not None and final is not None:
                next_mask = np.where(ended[:, None], final, next_mask)
        elif ended.any():
            raw, infos = self._call("reset", options={"reset_mask": ended})
            obs = np.where(ended[:, None], self._rows(raw), next_obs)
            new = self._mask(infos, ended)
            if mask is not None and new is not None:
                mask = np.where(ended[:, None], new, mask)
        self._was_done = ended & valid
        descriptor = self._describe(self._was_done, last.get("descriptor"))
        return Outcome(obs, next_obs, reward, terminated, truncated, valid, mask, next_mask, descriptor=descriptor)

    def close(self) -> None:
        if not self._hung:
            with contextlib.suppress(ActrixError):
                self._call("close")
