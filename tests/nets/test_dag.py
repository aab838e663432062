"""Random graphs: acyclic, in the order they say, a function of their noise, with a gradient."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from actrix.errors import ActrixError
from actrix.nets.dag import RandomDAG, harden, sinkhorn


def test_sinkhorn_ends_doubly_stochastic() -> None:
    torch.manual_seed(0)
    found = sinkhorn(torch.randn(50, 5, 5, dtype=torch.float64), 200)
    torch.testing.assert_close(found.sum(-1), torch.ones(50, 5, dtype=torch.float64))
    torch.testing.assert_close(found.sum(-2), torch.ones(50, 5, dtype=torch.float64))
    # scaling rows and columns leaves cross ratios alone: it is the same matrix up to that
    logits = torch.randn(3, 3, dtype=torch.float64)
    s = sinkhorn(logits, 200)
    assert s[0, 0] * s[1, 1] / (s[0, 1] * s[1, 0]) == pytest.approx(
        math.exp(logits[0, 0] + logits[1, 1] - logits[0, 1] - logits[1, 0])
    )


def test_hardening_gives_a_permutation_and_keeps_one() -> None:
    torch.manual_seed(0)
    found = harden(sinkhorn(torch.randn(1000, 6, 6), 10))
    assert ((found == 0) | (found == 1)).all()
    assert (found.sum(-1) == 1).all()
    assert (found.sum(-2) == 1).all()
    for order in itertools.permutations(range(4)):
        exact = torch.eye(4)[list(order)]
        assert torch.equal(harden(0.4 * exact + 0.15), exact)


@pytest.mark.parametrize("kind", ["learned", "random", "complete"])
def test_no_graph_has_a_circle(kind: str) -> None:
    """10,000 graphs: along their order, every edge points forward; so no power of the adjacency comes back."""
    torch.manual_seed(0)
    dag = RandomDAG(3, 16, 5, kind)
    x = 3 * torch.randn(10_000, 3)
    with torch.no_grad():
        adjacency, order = dag(x, dag.noise(x) if dag.drawn else None)
    assert ((adjacency == 0) | (adjacency == 1)).all()
    place = order.argsort(-1)
    parent, child = place[:, :, None], place[:, None, :]
    assert (adjacency.bool() <= (parent < child)).all()
    paths = adjacency
    for _ in range(5):
        assert (paths.diagonal(dim1=-2, dim2=-1) == 0).all()
        paths = paths @ adjacency
    assert (paths == 0).all()
    pairs = adjacency.sum((-1, -2)) / 10
    assert pairs.std() > 0.1 if kind != "complete" else (pairs == 1).all()


def test_random_graphs_are_uniform() -> None:
    """Every order and every edge along it, each as often as any other."""
    torch.manual_seed(0)
    dag = RandomDAG(1, 1, 3, "random")
    x = torch.zeros(24_000, 1)
    adjacency, order = dag(x, dag.noise(x))
    counts = torch.unique(order, dim=0, return_counts=True)[1]
    assert len(counts) == 6
    assert (counts / 4000 - 1).abs().max() < 0.08
    assert adjacency.mean(0).sum().item() == pytest.approx(3 * 0.5, abs=0.03)
    assert dag.density(x)[0] == 0.5


def test_edges_come_with_their_probability() -> None:
    """Against the closed form: P(edge) = sigmoid(logit), and `density` is its mean."""
    dag = RandomDAG(1, 4, 2)
    with torch.no_grad():
        for p in dag.parameters():
            p.zero_()
        dag.edge_net.layers[-1].bias.copy_(torch.tensor([9.0, 1.5, -0.5, 9.0]))  # the diagonal is no edge
    torch.manual_seed(0)
    x = torch.zeros(40_000, 1)
    adjacency, order = dag(x, dag.noise(x))
    first = order[:, 0] == 0
    chance = [1 / (1 + math.exp(-e)) for e in (1.5, -0.5)]
    assert adjacency[first, 0, 1].mean().item() == pytest.approx(chance[0], abs=0.01)
    assert adjacency[~first, 1, 0].mean().item() == pytest.approx(chance[1], abs=0.01)
    assert dag.density(x)[0].item() == pytest.approx(sum(chance) / 2)


def test_the_same_noise_gives_the_same_graph_and_a_gradient() -> None:
    torch.manual_seed(0)
    dag = RandomDAG(3, 16, 4)
    x = torch.randn(64, 3)
    noise = dag.noise(x)
    adjacency, order = dag(x, noise)
    again, same = dag(x, noise)
    assert torch.equal(adjacency, again)
    assert torch.equal(order, same)
    assert not torch.equal(adjacency, dag(x, dag.noise(x))[0])
    (adjacency * torch.randn(4, 4)).sum().backward()
    for p in dag.parameters():
        assert p.grad is not None
        assert p.grad.abs().max() > 0
    assert (dag(x, dag.closed(noise))[0] == 0).all()


def test_a_kind_that_is_none_is_named() -> None:
    with pytest.raises(ActrixError, match="unknown graph 'learnd'") as caught:
        RandomDAG(1, 1, 2, "learnd")
    assert "learned" in caught.value.hint
