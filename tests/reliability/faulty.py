"""An environment that misbehaves in the way that the variable FAULT names, at step FAULT_AT of its life.

Without FAULT it is a healthy environment: a person has mended it. Import as `faulty:Faulty-v0`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


def block() -> None:
    """Hang in compiled code that signals do not interrupt: take a lock twice."""
    lock = ctypes.create_string_buffer(64)
    libc = ctypes.CDLL(None)
    libc.pthread_mutex_lock(lock)
    libc.pthread_mutex_lock(lock)


def hold() -> None:
    """The same, holding the interpreter's lock: no other thread runs."""
    lock = ctypes.create_string_buffer(64)
    libc = ctypes.PyDLL(None)
    libc.pthread_mutex_lock(lock)
    libc.pthread_mutex_lock(lock)


def spin() -> None:
    while True:
        pass


def raises() -> None:
    raise ValueError("the arm fell off\nand rolled under the table")


ACTS = {
    "raises": raises,
    "exits": lambda: sys.exit(0),
    "sleeps": lambda: time.sleep(1000),
    "spins": spin,
    "blocks": block,
    "holds": hold,
    "dies": lambda: os._exit(3),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


class Faulty(gym.Env):
    """Walk to the origin; episodes of 20 steps."""

    def __init__(self, discrete: bool = False) -> None:
        self.observation_space = spaces.Box(-10, 10, (3,), np.float32)
        self.action_space = spaces.Discrete(3) if discrete else spaces.Box(-1, 1, (3,), np.float32)
        self.life = self.t = 0
        self.fault, self.at = os.environ.get("FAULT", ""), int(os.environ.get("FAULT_AT", "25"))
        if self.fault == "unmakeable":
            raise RuntimeError("no such robot")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t, self.x = 0, self.np_random.normal(size=3)
        faulty = self.fault == "nan reset" and self.life >= self.at
        return (self.x * np.nan if faulty else self.x).astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.life, self.t = self.life + 1, self.t + 1
        move = np.eye(3)[action] if isinstance(self.action_space, spaces.Discrete) else np.asarray(action)
        self.x = np.clip(0.9 * self.x + 0.3 * move + 0.01 * self.np_random.normal(size=3), -9, 9)
        obs: Any = self.x.astype(np.float32)
        reward: Any = -float(np.square(self.x).sum())
        info: dict[str, Any] = {}
        if self.fault and self.life >= self.at:
            if self.fault in ACTS:
                ACTS[self.fault]()
            elif self.fault == "nan observation":
                obs[1] = np.nan
            elif self.fault == "infinite observation":
                obs[2] = -np.inf
            elif self.fault == "huge observation":
                obs = np.array([1e300, 0, 0])
            elif self.fault == "nan reward":
                reward = np.nan
            elif self.fault == "infinite reward":
                reward = 1e300
            elif self.fault == "wrong shape":
                obs = obs[:2]
            elif self.fault == "scalar":
                obs = obs[0]
            elif self.fault == "no reward":
                reward = None
            elif self.fault == "four values":
                return obs, reward, False, info  # type: ignore[return-value]
            elif self.fault == "huge reward":
                reward = 3e38
        return obs, reward, False, self.t >= 20, info


class Masked(Faulty):
    """The same with action masks: at time t, choice t % 3 is not legal."""

    def __init__(self) -> None:
        super().__init__(discrete=True)

    def mask(self) -> dict[str, Any]:
        if self.fault and self.life >= self.at:
            if self.fault == "no legal action":
                return {"action_mask": np.zeros(3, np.int8)}
            if self.fault == "short mask":
                return {"action_mask": np.ones(2, np.int8)}
            if self.fault == "lost mask":
                return {}
        return {"action_mask": (np.arange(3) != self.t % 3).astype(np.int8)}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        obs, _ = super().reset(seed=seed)
        return obs, self.mask()

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        assert action != self.t % 3, "an illegal action"
        return *super().step(action)[:4], self.mask()


class Odd(gym.Env):
    """Spaces that no policy here can see or act in."""

    def __init__(self, which: str) -> None:
        box = spaces.Box(-1, 1, (2,), np.float32)
        kinds: dict[str, spaces.Space] = {
            "text": spaces.Text(5),
            "graph": spaces.Graph(box, None),
            "sequence": spaces.Sequence(box),
            "dict": spaces.Dict({"a": box}),
            "grid": spaces.MultiDiscrete(np.array([[2, 2], [3, 3]])),
            "nothing": spaces.Tuple(()),
        }
        where, _, kind = which.partition(" ")
        self.observation_space = kinds[kind] if where == "see" else box
        self.action_space = kinds[kind] if where == "act" else box


def register(name: str, entry_point: Any, **kwargs: Any) -> None:
    if name not in gym.registry:
        gym.register(name, entry_point, **kwargs)


register("Faulty-v0", Faulty)
register("Choices-v0", Faulty, kwargs={"discrete": True})
register("Masked-v0", Masked)
for place in ("see", "act"):
    for kind in ("text", "graph", "sequence", "dict", "grid", "nothing"):
        register(f"{place.title()}{kind.title()}-v0", Odd, kwargs={"which": f"{place} {kind}"})
