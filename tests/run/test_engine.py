"""How many threads: measured, and remembered only where the measurement can be trusted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from actrix.run import engine

many = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor leaves nothing to choose")
linux = pytest.mark.skipif(not Path("/proc/loadavg").exists(), reason="how busy a machine is, is known on Linux")


@pytest.fixture
def company() -> Iterator[None]:
    """Something else that runs all the time."""
    spin = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(2)]
    time.sleep(0.3)
    yield
    for process in spin:
        process.kill()
        process.wait()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return tmp_path / "actrix" / "threads"


@many
@linux
def test_what_is_measured_beside_other_work_is_not_remembered(cache: Path, company: None) -> None:
    before = torch.get_num_threads()
    assert engine.measured_threads(nn.Linear(64, 64), 128) >= 1
    assert not cache.exists()
    assert torch.get_num_threads() == before


@many
def test_what_was_measured_is_believed(cache: Path) -> None:
    deadline = time.monotonic() + 5
    while not cache.exists() and time.monotonic() < deadline:  # other tests may run beside this one
        engine.measured_threads(nn.Linear(64, 64), 128)
    if not cache.exists():
        pytest.skip("this machine was never quiet")
    (kept,) = cache.iterdir()
    kept.write_text("7")
    assert engine.measured_threads(nn.Linear(64, 64), 128) == 7
