"""Threads are measured, and remembered only where that can be trusted; graphs serve what they were made for."""

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

from actrix.data.batches import Transitions
from actrix.nets import linear
from actrix.rng import torch_stream
from actrix.run import engine
from actrix.spec import vector_spec
from actrix.systems.control.sac import SAC
from actrix.systems.control.sac import Config as SACConfig

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


def test_graphs_of_learners_of_one_system_are_not_mixed_up() -> None:
    """Sizes, settings and precision differ; what is compiled for one is never run for another."""
    spec = vector_spec(3, 1)
    configs = [SACConfig(hidden=(8,)), SACConfig(hidden=(8,), discount=0.5), SACConfig(hidden=(12, 12))]
    batch = Transitions(
        obs=torch.randn(16, 3), action=torch.rand(16, 1) * 2 - 1, reward=torch.randn(16), next_obs=torch.randn(16, 3),
        terminated=torch.zeros(16, dtype=torch.bool), truncated=torch.zeros(16, dtype=torch.bool),
    )  # fmt: skip
    results = []
    for backend in (None, "eager"):
        torch.manual_seed(0)
        learners = [SAC(spec, config) for config in configs]
        updates = [engine.compiled(learner.update, backend) if backend else learner.update for learner in learners]
        for _ in range(3):
            for i, update in enumerate(updates):
                with torch_stream(0, "update", i):
                    update(batch, None)
        results.append([p.clone() for learner in learners for p in learner.parameters()])
    for plain, graph in zip(*results, strict=True):
        torch.testing.assert_close(graph, plain)


def test_a_graph_is_made_anew_for_other_arguments_and_settings() -> None:
    made = []

    def update(batch: torch.Tensor, phase: str) -> torch.Tensor:
        threefold = linear.linear(batch, torch.full((3, 2), 1.0 if linear._enabled else 5.0), None)
        return threefold * 2 if phase == "double" else threefold

    def backend(graph: torch.fx.GraphModule, _: object) -> object:
        made.append(graph)
        return graph.forward

    once = engine.compiled(update, backend)  # type: ignore[arg-type]
    one, two = torch.ones(4, 3), torch.ones(5, 3)
    for _ in range(2):
        assert once(one, "single").tolist() == [[3.0, 3.0]] * 4
        assert once(one, "double").tolist() == [[6.0, 6.0]] * 4
        assert once(two, "single").tolist() == [[3.0, 3.0]] * 5
    assert len(made) == 3
    before = linear.set_fast_products(False)
    try:
        assert once(one, "single").tolist() == [[15.0, 15.0]] * 4
    finally:
        linear.set_fast_products(before)
    assert once(one, "single").tolist() == [[3.0, 3.0]] * 4
    assert len(made) == 4
