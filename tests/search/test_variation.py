"""Variation in closed form."""

from __future__ import annotations

import torch

from actrix.rng import torch_stream
from actrix.search.variation import iso_line


def test_iso_line_has_the_moments_that_it_should() -> None:
    """N(first, iso^2 I + line^2 d d^T), d = second - first: one number for all of d, one for each parameter."""
    first, second = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([3.0, -2.0, -0.5])
    n, iso, line = 200_000, 0.3, 0.5
    with torch_stream(0, "variation"):
        found = iso_line(first.expand(n, 3), second.expand(n, 3), iso, line)
    away = second - first
    covariance = iso**2 * torch.eye(3) + line**2 * torch.outer(away, away)
    torch.testing.assert_close(found.mean(0), first, rtol=0, atol=5 * float(covariance.max()) ** 0.5 / n**0.5)
    torch.testing.assert_close(found.T.cov(), covariance, rtol=0, atol=0.015)
    # each child draws its own numbers
    assert len(torch.unique(found[:, 1])) > 0.9 * n


def test_equal_parents_have_children_around_them() -> None:
    same = torch.randn(50, 4)
    assert torch.equal(iso_line(same, same, 0.0, 1.0), same)
