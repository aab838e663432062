"""How many worker processes pay: measured, not guessed.

A round through processes costs about half a millisecond on a few cores, whatever the environments do; cheap ones are
stepped in this process, and there it stays unless workers are seen to be faster.
"""

from __future__ import annotations

import os
import statistics
import time

import numpy as np

from actrix.envs.many import make_worlds
from actrix.envs.worlds import Worlds
from actrix.errors import ActrixError

LEAST_ROUND = 1e-3  # seconds; rounds shorter than this cannot gain
GAIN = 0.85  # of the time in process, that workers have to stay under
ROUNDS, SECONDS = 30, 1.5  # of one measurement, whichever ends first


def measured_workers(env_id: str, n: int, timeout: float = 60.0) -> int:
    """Worker processes for n environments stepped together: 0 is in this process.

    Steps a few rounds of uniform actions in process and, where those are slow enough to gain, in workers. An
    environment with action masks, or one that fails here, stays in process: the run itself says what is wrong.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores < 2 or n < 2:
        return 0
    try:
        alone = seconds_per_round(make_worlds(env_id, n, 0, timeout))
        if alone is None or alone < LEAST_ROUND:
            return 0
        workers = min(n, cores)
        shared = seconds_per_round(make_worlds(env_id, n, workers, timeout))
    except ActrixError:
        return 0
    return workers if shared is not None and shared < GAIN * alone else 0


def seconds_per_round(worlds: Worlds) -> float | None:
    """Median time of a step of all environments; None where actions are masked. Closes the worlds."""
    try:
        if worlds.reset(range(worlds.n))[1] is not None:
            return None
        worlds.action_space.seed(0)
        spans: list[float] = []
        end = time.perf_counter() + SECONDS
        while len(spans) < ROUNDS and (len(spans) < 3 or time.perf_counter() < end):
            actions = [worlds.action_space.sample() for _ in range(worlds.n)]
            rows = worlds.action_map.rows(np.stack([np.asarray(a) for a in actions]))
            start = time.perf_counter()
            worlds.step(rows)
            spans.append(time.perf_counter() - start)
        return statistics.median(spans)
    finally:
        worlds.close()
