"""Every update is one graph: captured without a break, and computing what eager mode computes."""

from __future__ import annotations

import shutil

import pytest
import torch
from test_contracts import CASES, SPECS, batch_of, build, phases

from actrix.rng import torch_stream
from actrix.run.engine import compiled

ROWS = 16  # of every batch: what is cut out of rollouts has more or fewer, and each number would be a graph of its own


def run(slug: str, kind: str, backend: str | None, updates: int = 3) -> dict[str, torch.Tensor]:
    """The learner's state after some updates of every phase, eager (None) or captured."""
    learner = build(slug, SPECS[kind])
    update = learner.update if backend is None else compiled(learner.update, backend)
    for i in range(updates):
        for phase in phases(learner):
            batch = batch_of(learner, i)[:ROWS]
            with torch_stream(0, "update", i):
                update(batch, phase)
    return learner.state()


@pytest.mark.parametrize(("slug", "kind"), CASES)
def test_the_update_is_captured_whole_and_computes_the_same(slug: str, kind: str) -> None:
    torch._dynamo.reset()
    captured, eager = run(slug, kind, "eager"), run(slug, kind, None)
    for name, value in eager.items():
        torch.testing.assert_close(captured[name], value, rtol=2e-4, atol=2e-5, msg=name)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs a C++ compiler")
@pytest.mark.parametrize(("slug", "kind"), [("sac", "box"), ("ppo", "discrete")])
def test_generated_kernels_agree_with_eager(slug: str, kind: str) -> None:
    torch._dynamo.reset()
    generated, eager = run(slug, kind, "inductor"), run(slug, kind, None)
    for name, value in eager.items():
        torch.testing.assert_close(generated[name], value, rtol=2e-3, atol=2e-4, msg=name)
