"""Noise that is held: how long, by whom, and what the actor makes of it."""

from __future__ import annotations

import math

import pytest
import torch

from actrix.actors.gaussian import UnitGaussian
from actrix.actors.noise import held, zeta
from actrix.spec import vector_spec


def test_how_long_it_is_held() -> None:
    """Lengths of runs of equal noise occur as n^-2, up to the longest; draws are standard normal."""
    torch.manual_seed(0)
    chances, like = zeta(4, 2.0), torch.zeros(400, 1)
    total = 1 + 1 / 4 + 1 / 9 + 1 / 16
    torch.testing.assert_close(chances, torch.tensor([1.0, 1 / 4, 1 / 9, 1 / 16]) / total)
    memory, rows = None, []
    for _ in range(400):
        memory = held(memory, like, chances)
        rows.append(memory.noise[:, 0])
    noise = torch.stack(rows, 1)  # [environments, steps]
    changes = torch.cat((torch.ones(400, 1, dtype=torch.bool), noise[:, 1:] != noise[:, :-1]), 1)
    lengths = []
    for row in changes:
        at = row.nonzero()[:, 0]
        lengths.append(at.diff())  # the last run may be cut
    counts = torch.bincount(torch.cat(lengths), minlength=5)[1:]
    assert len(counts) == 4
    torch.testing.assert_close(counts / counts.sum(), chances, rtol=0, atol=0.01)
    drawn = noise[changes]
    assert drawn.mean().item() == pytest.approx(0.0, abs=0.01)
    assert drawn.std().item() == pytest.approx(1.0, abs=0.01)


def test_environments_keep_theirs_independently() -> None:
    torch.manual_seed(0)
    memory, together = None, 0
    for _ in range(200):
        before, memory = memory, held(memory, torch.zeros(2, 3), zeta(16, 2.0))
        if before is not None:
            kept = (memory.noise == before.noise).all(1)
            together += int(kept[0] != kept[1])
    assert together > 20, "one counter for all would renew them together"


def test_held_for_one_step_is_white() -> None:
    memory = held(None, torch.zeros(50, 2), zeta(1, 2.0))
    assert not (held(memory, torch.zeros(50, 2), zeta(1, 2.0)).noise == memory.noise).any()


def test_the_actor_follows_the_state_while_it_keeps_its_noise() -> None:
    torch.manual_seed(0)
    actor = UnitGaussian(vector_spec(3, 2), 16, 1, hold=50, exponent=0.0)
    first, second = torch.randn(2, 64, 3)
    _, memory = actor.explore(first)
    action, later = actor.explore(second, memory=memory)
    kept = (later.noise == memory.noise).all(1)
    assert kept.float().mean() > 0.9
    with torch.no_grad():
        mean, log_std = actor.distribution(second)
    torch.testing.assert_close(action.action, torch.tanh(mean + log_std.exp() * later.noise))
    normal = torch.distributions.Normal(mean, log_std.exp())
    u = mean + log_std.exp() * later.noise
    torch.testing.assert_close(
        action.logp, (normal.log_prob(u) - torch.log1p(-(torch.tanh(u) ** 2))).sum(-1), rtol=1e-3, atol=1e-3
    )
    assert (log_std > -10).all()
    assert (log_std < 2).all()
    torch.testing.assert_close(actor.act(second, "mean").action, torch.tanh(mean))
    assert math.isclose(float(zeta(50, 0.0)[0]), 1 / 50, rel_tol=1e-6)
