"""Environments in worker processes, with the same bits as in this one.

Each worker steps its share of the environments as `LocalWorlds` and writes canonical rows into one block of shared
memory; over its pipe go single bytes, and the text of an error. A worker that dies, hangs or raises is named.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import mmap
import multiprocessing
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any

import gymnasium as gym
import numpy as np

from actrix.envs.watchdog import INTACT, TICK
from actrix.envs.worlds import LocalWorlds, Outcome, Worlds
from actrix.errors import ActrixError, brief
from actrix.spec import Choices, Spec

RESET, STEP, DONE, MASKED = b"r", b"s", b".", b"m"
MAKING = 60.0  # seconds, at least, that a worker has to make its environments


class Block:
    """The shared memory: one array for each thing that passes between the processes, all [N, ...]."""

    def __init__(self, spec: Spec, n: int) -> None:
        choices = isinstance(spec.action, Choices)
        width = sum(spec.action.sizes) if isinstance(spec.action, Choices) else 0
        layout: dict[str, tuple[tuple[int, ...], Any]] = {
            "seed": ((n,), np.int64),
            "action": ((n, spec.action_size), np.int64 if choices else np.float32),
            "obs": ((n, spec.obs_size), spec.obs_dtype),
            "next_obs": ((n, spec.obs_size), spec.obs_dtype),
            "reward": ((n,), np.float32),
            "terminated": ((n,), np.bool_),
            "truncated": ((n,), np.bool_),
            "mask": ((n, width), np.bool_),
            "next_mask": ((n, width), np.bool_),
            "descriptor": ((n, spec.descriptor), np.float32),
        }
        sizes = [-(-int(np.prod(shape)) * np.dtype(dtype).itemsize // 64) * 64 for shape, dtype in layout.values()]
        self.memory = mmap.mmap(-1, max(sum(sizes), 1))
        starts = np.concatenate(([0], np.cumsum(sizes)[:-1])).tolist()
        self.arrays: dict[str, np.ndarray] = {
            name: np.ndarray(shape, dtype, self.memory, start)
            for (name, (shape, dtype)), start in zip(layout.items(), starts)
        }


class ProcessWorlds(Worlds):
    """N environments shared out among worker processes. `timeout`: seconds after which a call counts as hung."""

    def __init__(self, makers: Sequence[Callable[[], gym.Env]], name: str, workers: int, timeout: float = 60.0) -> None:
        probe = makers[0]()  # says here, not in a worker, what is wrong with the id
        descriptor_space = getattr(probe.unwrapped, "descriptor_space", None)
        super().__init__(name, len(makers), probe.observation_space, probe.action_space, descriptor_space)
        self.reward_at = getattr(probe.unwrapped, "reward_at", None)
        self.flow = getattr(probe.unwrapped, "flow", None)
        self.post_decision = getattr(probe.unwrapped, "post_decision", None)
        self.supervise = getattr(probe.unwrapped, "supervise", None)
        with contextlib.suppress(Exception):
            probe.close()
        self.timeout = timeout
        self._block = Block(self.spec, self.n)
        edges = [i * self.n // workers for i in range(workers + 1)]
        self._shares = [slice(a, b) for a, b in itertools.pairwise(edges) if b > a]
        context = multiprocessing.get_context("fork")
        pairs = [context.Pipe() for _ in self._shares]
        self._pipes: list[Connection] = [near for near, _ in pairs]
        sys.stdout.flush()
        self._processes = [
            context.Process(
                target=serve, args=(pairs, k, makers[share], name, share, self._block), daemon=True, name=f"actrix-{k}"
            )
            for k, share in enumerate(self._shares)
        ]
        for process in self._processes:
            process.start()
        for _, far in pairs:
            far.close()
        self._poll = select.poll()
        for pipe in self._pipes:
            self._poll.register(pipe.fileno(), select.POLLIN)
        try:
            self._wait("making it", max(timeout, MAKING))
        except BaseException:
            self.close()
            raise

    def _ask(self, what: bytes) -> None:
        for k, pipe in enumerate(self._pipes):
            try:
                pipe.send_bytes(what)
            except OSError:
                self._died(k, "waiting")

    def _wait(self, what: str, seconds: float) -> bool:
        """Until every worker has answered; True where they gave masks. ActrixError for whatever else happens."""
        waiting = {pipe.fileno(): k for k, pipe in enumerate(self._pipes)}
        answers: set[bytes] = set()
        waited = 0.0
        while waiting:
            ready = [(fd, waiting[fd]) for fd, _ in self._poll.poll(TICK * 1000) if fd in waiting]
            if not ready:  # counted in ticks: time in which this process was stopped is not held against the workers
                waited += TICK
                if waited >= seconds:
                    self._fail(f"{self._worker(min(waiting.values()))}: {what} did not return within {seconds:g} s")
            for fd, k in ready:
                try:
                    answer = self._pipes[k].recv_bytes()
                except (EOFError, OSError):
                    self._died(k, what)
                if answer not in (DONE, MASKED):
                    error = json.loads(answer)
                    self.close()
                    raise ActrixError(error["message"], error["hint"], misuse=error["misuse"])
                answers.add(answer)
                del waiting[fd]
        if len(answers) > 1:
            self._fail(f"{self.name}: info['action_mask'] is there in some environments and missing in others")
        return MASKED in answers

    def _worker(self, k: int) -> str:
        share = self._shares[k]
        which = f"environment {share.start}"
        if share.stop - share.start > 1:
            which = f"environments {share.start} to {share.stop - 1}"
        return f"the worker process of {which} ({self.name})"

    def _died(self, k: int, what: str) -> None:
        process = self._processes[k]
        process.join(1.0)
        code = process.exitcode
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
        self._fail(f"{self._worker(k)} died during {what} ({how})")

    def _fail(self, message: str) -> None:
        self.close()
        raise ActrixError(message, INTACT)

    def _reset(self, seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
        arrays = self._block.arrays
        arrays["seed"][:] = seeds
        self._ask(RESET)
        masked = self._wait("reset", self.timeout)
        return arrays["obs"].copy(), arrays["mask"].copy() if masked else None

    def _step(self, action: np.ndarray) -> Outcome:
        arrays = self._block.arrays
        arrays["action"][:] = action
        self._ask(STEP)
        masked = self._wait("step", self.timeout)
        names = ("obs", "next_obs", "reward", "terminated", "truncated")
        obs, next_obs, reward, terminated, truncated = (arrays[name].copy() for name in names)
        mask, next_mask = (arrays[name].copy() if masked else None for name in ("mask", "next_mask"))
        valid, descriptor = np.ones(self.n, bool), None
        ended = (terminated | truncated)[:, None]
        if self.descriptor_space is not None and ended.any():
            descriptor = np.where(ended, arrays["descriptor"], np.float32(np.nan))
        return Outcome(obs, next_obs, reward, terminated, truncated, valid, mask, next_mask, descriptor=descriptor)

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.close()  # a worker whose pipe closes closes its environments and ends
        patience = time.monotonic() + 1.0
        for process in self._processes:
            if process.pid is not None:
                process.join(max(patience - time.monotonic(), 0.0))
                if process.exitcode is None:
                    process.kill()
                    process.join()


def serve(
    pairs: list[tuple[Connection, Connection]],
    k: int,
    makers: Sequence[Callable[[], gym.Env]],
    name: str,
    share: slice,
    block: Block,
) -> None:
    """What worker number k runs, until its pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent answers it
    die_with_parent()
    pipe = pairs[k][1]
    for i, (near, far) in enumerate(pairs):
        near.close()
        if i != k:
            far.close()
    with contextlib.suppress(EOFError, OSError):
        try:
            for answer in answers(pipe, makers, name, share, block):
                pipe.send_bytes(answer)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return
        except ActrixError as error:
            text = {"message": error.message, "hint": error.hint, "misuse": error.misuse}
            pipe.send_bytes(json.dumps(text).encode())
        except Exception as error:
            message = f"the worker process of environment {share.start} ({name}): {brief(error)}"
            pipe.send_bytes(json.dumps({"message": message, "hint": INTACT, "misuse": False}).encode())


def answers(
    pipe: Connection, makers: Sequence[Callable[[], gym.Env]], name: str, share: slice, block: Block
) -> Iterator[bytes]:
    worlds = LocalWorlds(makers, name, timeout=0.0, first=share.start)
    mine = {k: array[share] for k, array in block.arrays.items()}
    yield DONE
    try:
        while True:
            what = pipe.recv_bytes()
            with np.errstate(all="ignore"):
                if what == RESET:
                    obs, mask = worlds._reset(mine["seed"].tolist())
                    mine["obs"][:] = obs
                    if mask is not None:
                        mine["mask"][:] = mask
                else:
                    out = worlds._step(mine["action"])
                    mask = out.mask
                    for key in ("obs", "next_obs", "reward", "terminated", "truncated"):
                        mine[key][:] = getattr(out, key)
                    if out.descriptor is not None:
                        mine["descriptor"][:] = out.descriptor
                    if mask is not None and out.next_mask is not None:
                        mine["mask"][:], mine["next_mask"][:] = mask, out.next_mask
            yield DONE if mask is None else MASKED
    finally:
        worlds.close()


def die_with_parent() -> None:
    """Ask the system (Linux) to end this process when its parent dies, even while an environment hangs."""
    parent = os.getppid()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
