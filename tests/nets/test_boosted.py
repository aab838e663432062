"""Boosted trees against brute force: splits, leaves, sums, and what a compression may lose."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from actrix.errors import ActrixError
from actrix.nets.boosted import Boosted, Forest, Growth, Outputs, Slice
from actrix.spec import Choices, Part, Spec, vector_spec

TWO = Choices((2,), "discrete", (0,))


def spec(numeric: int, categorical: int = 0) -> Spec:
    parts = (Part("obs", 0, numeric, (numeric,)),)
    if categorical:
        parts += (Part("kind", numeric, numeric + categorical, (categorical,), categorical=True),)
    return Spec(parts, TWO)


def data(numeric: int, categorical: int, rows: int, outputs: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    kind = torch.nn.functional.one_hot(torch.randint(max(categorical, 1), (rows,), generator=g), max(categorical, 1))
    x = torch.cat((torch.randn(rows, numeric, generator=g).round(decimals=1), kind[:, :categorical]), 1)
    return x.double(), torch.randn(rows, outputs, generator=g).double()


def ensemble(of: Spec, outputs: int, rate: float = 1.0, clip: float | None = None, **growth: object) -> Boosted:
    return Boosted(of, (Outputs(outputs, rate, clip),), Growth(**{"capacity": 64, **growth})).double()  # type: ignore[arg-type]


# -- brute force ---------------------------------------------


def agreement(g: np.ndarray, above: np.ndarray, score: str) -> float:
    """Sum over both sides of n |mean|^2; its root for the cosine score, as |cos| times the norm of the gradients."""
    total = sum(len(side) * float((side.mean(0) ** 2).sum()) for side in (g[above], g[~above]) if len(side))
    return total**0.5 if score == "cosine" else total


def grown(x: np.ndarray, g: np.ndarray, depth: int, oblivious: bool, score: str, bins: int) -> np.ndarray:
    """What one tree says of its own rows, by trying every test on every node: [B, O]."""
    judged = g
    if score == "l2":
        judged = (g - g.mean(0)) / g.std(0)
    tests = []
    for column in range(x.shape[1]):
        values = np.sort(x[:, column])
        places = [j * len(x) // min(bins, len(x)) for j in range(min(bins, len(x)))]
        tests += [x[:, column] > values[place] for place in places]
    nodes = [np.arange(len(x))]
    for _ in range(depth):
        if oblivious:
            useful = [t for t in tests if any(0 < t[n].sum() < len(n) for n in nodes if len(n))]
            if not useful:
                break
            best = max(useful, key=lambda t: sum(agreement(judged[n], t[n], score) for n in nodes))
            chosen = [best] * len(nodes)
        else:
            chosen = []
            for n in nodes:
                useful = [t for t in tests if 0 < t[n].sum() < len(n)]
                chosen.append(
                    max(useful, key=lambda t: agreement(judged[n], t[n], score)) if useful else tests[0] & False
                )
        nodes = [side for n, t in zip(nodes, chosen) for side in (n[~t[n]], n[t[n]])]
    said = np.zeros_like(g)
    for n in nodes:
        if len(n):
            said[n] = g[n].mean(0)
    return said


@pytest.mark.parametrize("oblivious", [True, False])
@pytest.mark.parametrize("score", ["cosine", "l2"])
@pytest.mark.parametrize(("numeric", "categorical", "bins"), [(3, 0, 256), (2, 4, 256), (4, 0, 7)])
def test_a_tree_is_what_trying_everything_finds(
    oblivious: bool, score: str, numeric: int, categorical: int, bins: int
) -> None:
    for seed in range(3):
        x, g = data(numeric, categorical, 40, 3, seed)
        trees = ensemble(spec(numeric, categorical), 3, depth=3, bins=bins, oblivious=oblivious, score=score)
        trees.fit(x, g)
        expected = grown(x.numpy(), g.numpy(), 3, oblivious, score, bins)
        torch.testing.assert_close(trees(x), -torch.from_numpy(expected), rtol=0, atol=1e-10)


def test_squared_loss_at_rate_one_is_gradient_boosting() -> None:
    """Several greedy trees: each round fits the residual that the reference's own sum leaves."""
    x, target = data(3, 3, 60, 2)
    trees = ensemble(spec(3, 3), 2, oblivious=False, depth=2)
    sums = np.zeros((60, 2))
    for _ in range(8):
        trees.fit(x, trees(x).detach() - target)  # the gradient of half the squared error
        sums -= grown(x.numpy(), sums - target.numpy(), 2, False, "cosine", 256)
        torch.testing.assert_close(trees(x), torch.from_numpy(sums), rtol=0, atol=1e-8)
    assert (trees(x) - target).square().mean() < 0.6 * target.square().mean()


@pytest.mark.parametrize("score", ["cosine", "l2"])
def test_of_one_level_both_ways_of_growing_give_the_same(score: str) -> None:
    x, g = data(4, 5, 50, 3)
    said = []
    for oblivious in (True, False):
        trees = ensemble(spec(4, 5), 3, depth=1, oblivious=oblivious, score=score)
        for step in range(5):
            trees.fit(x, g + step * trees(x).detach())
        said.append(trees(x))
    assert torch.equal(*said)


def test_a_deep_enough_greedy_tree_tells_all_rows_apart() -> None:
    x, g = torch.arange(16.0).double()[:, None], data(1, 0, 16, 2)[1]
    trees = ensemble(spec(1), 2, depth=15, oblivious=False, capacity=2)
    trees.fit(x, g)
    torch.testing.assert_close(trees(x), -g, rtol=0, atol=1e-12)


# -- rates, bounds, scale ---------------------------------------------


def test_every_output_has_its_rate_and_its_bound() -> None:
    x, g = data(3, 0, 40, 3)
    g = 10 * g
    plain, both = ensemble(spec(3), 3), Boosted(spec(3), (Outputs(2, 0.5), Outputs(1, 0.1, clip_norm=1e9)), Growth())
    both = both.double()
    plain.fit(x, g)
    both.fit(x, g)
    torch.testing.assert_close(both(x), plain(x) * torch.tensor([0.5, 0.5, 0.1]).double(), rtol=1e-6, atol=1e-9)
    bounded = ensemble(spec(3), 3, clip=2.0)
    bounded.fit(x, g)
    shorter = g * (2.0 / g.norm(dim=1, keepdim=True)).clamp(max=1)
    plain = ensemble(spec(3), 3)
    plain.fit(x, shorter)
    torch.testing.assert_close(bounded(x), plain(x))


def test_the_l2_score_does_not_see_the_scale_of_an_output_and_the_cosine_score_does() -> None:
    x, g = data(4, 0, 60, 2)
    larger = g * torch.tensor([1.0, 100.0])
    for score, same in (("l2", True), ("cosine", False)):
        trees = [ensemble(spec(4), 2, score=score) for _ in range(2)]
        trees[0].fit(x, g)
        trees[1].fit(x, larger)
        assert torch.equal(trees[0].threshold[0], trees[1].threshold[0]) == same
    # the value stored is that of the raw gradient
    whole = ensemble(spec(4), 2, score="l2", depth=1)
    whole.fit(torch.zeros_like(x), larger)
    torch.testing.assert_close(whole(x)[0], -larger.mean(0))


# -- sums, caches, saving ---------------------------------------------


@pytest.mark.parametrize("oblivious", [True, False])
def test_the_sum_is_that_of_walking_through_every_tree(oblivious: bool) -> None:
    x, _ = data(3, 0, 30, 2)
    trees = ensemble(spec(3), 2, depth=3, oblivious=oblivious, rate=0.3)
    for step in range(12):
        trees.fit(*data(3, 0, 30, 2, seed=step))
    expected = torch.zeros(30, 2).double()
    for row in range(30):
        for k in range(12):
            leaf = node = 0
            for level in range(3):
                split = level if oblivious else node
                above = bool(x[row, trees.feature[k, split]] > trees.threshold[k, split])
                leaf, node = 2 * leaf + above, 2 * node + 1 + above
            expected[row] += trees.leaves[k, leaf].detach()
    torch.testing.assert_close(trees(x), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(trees(x[:, None].expand(30, 4, 3)), expected[:, None].expand(30, 4, 2))


def test_what_came_since_adds_up_to_the_whole() -> None:
    trees = Boosted(spec(3), (Outputs(2, 0.5),), Growth(capacity=64), recent=5).double()
    x, g = data(3, 0, 30, 2)
    for _ in range(4):
        before = trees.begin(x)
        for _ in range(5):
            output = before + trees.since(x)
            torch.testing.assert_close(output, trees(x))
            trees.fit(x, output.detach() - g)


def test_a_full_ensemble_says_so() -> None:
    x, g = data(3, 0, 30, 2)
    trees = ensemble(spec(3), 2, capacity=2)
    trees.fit(x, g)
    trees.fit(x, g)
    with pytest.raises(ActrixError, match="in use"):
        trees.fit(x, g)
    with pytest.raises(ActrixError, match="do not fit into half of 6"):
        Boosted(spec(3), (Outputs(2, 0.5),), Growth(capacity=6), recent=4)


@pytest.mark.parametrize("oblivious", [True, False])
def test_compression_keeps_what_was_learned_up_to_what_it_says_was_lost(oblivious: bool) -> None:
    x, noise = data(3, 2, 400, 2)
    target = torch.stack((x[:, 0].sin() + x[:, 3], 5 * x[:, 1] * (x[:, 2] > 0)), 1) + 0.01 * noise
    trees = ensemble(spec(3, 2), 2, rate=0.1, capacity=128, oblivious=oblivious)
    for _ in range(128):
        trees.fit(x, trees(x).detach() - target)
    before, whole = trees(x).detach(), copy.deepcopy(trees)
    errors = []
    for keep in (64, 16, 4):
        trees = copy.deepcopy(whole)
        trees.compress(x, keep)
        assert int(trees.count) == keep
        # the newest trees are the same ones
        assert torch.equal(trees.leaves[keep // 2 : keep], whole.leaves[128 - keep // 2 :])
        replaced = before - whole._said(
            x, *(t[128 - keep // 2 :] for t in (whole.feature, whole.threshold, whole.leaves))
        )
        spread = (replaced - replaced.mean(0)).square().mean().sqrt()
        error = (trees(x) - before).square().mean().sqrt()
        torch.testing.assert_close(trees.lost.double(), (error / spread).detach())
        errors.append(float(trees.lost))
    assert errors == sorted(errors)
    assert errors[0] < 0.15
    assert errors[-1] < 0.7
    # and there is room for what comes
    trees.fit(x, trees(x).detach() - target)


def test_a_forest_has_a_structure_for_each_of_its_ensembles() -> None:
    x, g = data(4, 0, 60, 3)
    g[:, 2] *= 100  # takes all splits of a shared structure
    growth = Growth(capacity=8)
    shared = Forest([Boosted(spec(4), (Outputs(2, 1.0), Outputs(1, 1.0)), growth)]).double()
    apart = Forest([Boosted(spec(4), (Outputs(n, 1.0),), growth) for n in (2, 1)]).double()
    alone = ensemble(spec(4), 2)
    alone.fit(x, g[:, :2])
    for forest in (shared, apart):
        forest.fit(x, g)
    torch.testing.assert_close(apart(x)[:, 2:], shared(x)[:, 2:], rtol=0.5, atol=5)
    assert torch.equal(apart(x)[:, :2], alone(x))
    assert (apart(x)[:, :2] + g[:, :2]).square().mean() < (shared(x)[:, :2] + g[:, :2]).square().mean()
    Slice(apart, 2, 3).say(7.0)
    assert (Slice(apart, 2, 3)(x) == 7).all()
    assert torch.equal(Slice(apart, 0, 2)(x), alone(x))


def test_an_actor_does_not_test_what_is_privileged() -> None:
    parts = (Part("seen", 0, 2, (2,)), Part("known", 2, 4, (2,), privileged=True))
    hidden = Spec(parts, TWO)
    x = torch.randn(50, 4)
    g = x[:, 2:3].sign()
    for view, sees in ((hidden, False), (hidden.for_critic(), True)):
        trees = Boosted(view, (Outputs(1, 1.0),), Growth(capacity=4))
        trees.fit(x, g)
        tested = set(trees.feature[0][trees.threshold[0].isfinite()].tolist())
        assert (2 in tested) == sees
        assert sees or tested <= {0, 1}


@pytest.mark.parametrize("growth", [{"score": "gini"}, {"depth": 0}, {"capacity": 0}])
def test_bad_settings_are_named(growth: dict) -> None:
    with pytest.raises(ActrixError, match=next(iter(growth)) if "score" not in growth else "gini"):
        Boosted(vector_spec(2, 1), (Outputs(1, 1.0),), Growth(**growth))
