"""Objectives against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from actrix import objectives


def test_clipped_against_numpy() -> None:
    rng = np.random.default_rng(0)
    logp, behaviour, advantage = rng.normal(size=(3, 8, 5))
    ratio = np.exp(logp - behaviour)
    for low, high in ((0.2, None), (0.2, 0.28), (0.0, 0.0)):
        expected = np.empty_like(ratio)
        for i, (r, a) in enumerate(zip(ratio.flat, advantage.flat)):
            bounded = min(max(r, 1 - low), 1 + (low if high is None else high))
            expected.flat[i] = -min(r * a, bounded * a)
        got = objectives.clipped(*(torch.from_numpy(x) for x in (logp, behaviour, advantage)), low, high)
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-12)


def test_clipped_gradient_vanishes_only_where_the_ratio_went_too_far_in_the_good_direction() -> None:
    logp = torch.tensor([0.5, 0.5, -0.5, -0.5, 0.0], requires_grad=True)
    advantage = torch.tensor([1.0, -1.0, 1.0, -1.0, 2.0])
    (gradient,) = torch.autograd.grad(objectives.clipped(logp, torch.zeros(5), advantage, 0.2).sum(), logp)
    torch.testing.assert_close(gradient, torch.tensor([0.0, math.exp(0.5), -math.exp(-0.5), 0.0, -2.0]))


def test_weighted_is_clipped_without_bounds() -> None:
    logp, behaviour, advantage = torch.randn(3, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = objectives.clipped(logp, behaviour, advantage, math.inf)
    torch.testing.assert_close(objectives.weighted(logp, behaviour, advantage), expected)


def test_moved_is_the_distance_and_rounding_has_no_slope() -> None:
    logp = torch.tensor([-1.0, 0.5, 0.0, 4e-6, -9e-6], dtype=torch.float64, requires_grad=True)
    found = objectives.moved(logp, torch.zeros(5, dtype=torch.float64))
    assert (found - logp.abs()).abs().max() < 1.1e-5
    (slope,) = torch.autograd.grad(found.sum(), logp)
    assert slope.tolist() == [-1.0, 1.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(("tau", "tau_negative"), [(1.0, 1.05), (3.0, 0.5)])
def test_gated_gradient_is_the_policy_gradient_times_a_gate(tau: float, tau_negative: float) -> None:
    """2511.20347, eq. 7: w r A d log pi, w = sech^2(t (r - 1) / 2), by autograd through the gate."""
    generator = torch.Generator().manual_seed(0)
    logp = (0.5 * torch.randn(200, dtype=torch.float64, generator=generator)).requires_grad_()
    advantage = torch.randn(200, dtype=torch.float64, generator=generator)
    loss = objectives.gated(logp, torch.zeros(200, dtype=torch.float64), advantage, tau, tau_negative)
    (found,) = torch.autograd.grad(loss.sum(), logp)
    ratio = logp.detach().exp()
    t = torch.where(advantage > 0, torch.full_like(ratio, tau), torch.full_like(ratio, tau_negative))
    gate = 1 / torch.cosh(t * (ratio - 1) / 2).square()
    torch.testing.assert_close(found, -gate * ratio * advantage, rtol=1e-10, atol=1e-12)
    assert (found != 0).all(), "no token loses its signal"
    assert (gate < 1).all(), "and each is held back, whichever way it went"


def test_gated_starts_as_the_policy_gradient_and_its_pull_is_bounded() -> None:
    logp = torch.zeros(4, requires_grad=True)
    advantage = torch.tensor([1.0, -1.0, 0.0, 2.5])
    for tau in (0.5, 1.0, 4.0):
        (found,) = torch.autograd.grad(objectives.gated(logp, torch.zeros(4), advantage, tau, 2 * tau).sum(), logp)
        torch.testing.assert_close(found, -advantage)  # whatever the temperatures
    far = torch.linspace(-3, 4, 7001, dtype=torch.float64, requires_grad=True)
    loss = objectives.gated(far, torch.zeros_like(far), torch.ones_like(far), 1.0, 1.0)
    (found,) = torch.autograd.grad(loss.sum(), far)
    pull, at = (-found).max(0)
    assert abs(float(pull) - 1.57) < 0.005
    assert abs(float(far.detach()[at].exp()) - 2.06) < 0.01


def test_gates_of_an_answers_tokens_average_to_the_gate_of_the_answer() -> None:
    """2511.20347, section 4: they differ by at most (t^2 / 4) Var(log r), where steps are small."""
    generator = torch.Generator().manual_seed(2)
    for tau in (1.0, 1.05, 3.0):
        for _ in range(50):
            log_ratio = 0.1 * torch.randn(40, dtype=torch.float64, generator=generator)
            whole = 1 / torch.cosh(tau / 2 * log_ratio.mean()).square()
            tokens = (1 / torch.cosh(tau / 2 * log_ratio).square()).mean()
            assert (tokens - whole).abs() <= tau**2 / 4 * log_ratio.var(unbiased=False)


@pytest.mark.parametrize("mode", ["token", "sequence"])
def test_reduce_gradient_does_not_depend_on_the_split(mode: str) -> None:
    torch.manual_seed(0)
    per_step = torch.randn(12, 7, dtype=torch.float64, requires_grad=True)
    mask = torch.rand(12, 7) < 0.5
    mask[3] = False  # a row in which nobody acted
    count = mask.sum() if mode == "token" else mask.any(1).sum()
    whole = objectives.reduce(per_step, mask, mode)
    (expected,) = torch.autograd.grad(whole, per_step)
    for sizes in ([6, 6], [1, 11], [3, 4, 5]):
        parts = zip(per_step.split(sizes), mask.split(sizes))
        total = sum(objectives.reduce(x, m, mode, count) for x, m in parts)
        (got,) = torch.autograd.grad(torch.as_tensor(total), per_step)
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-14)


def test_reduce_by_hand() -> None:
    x = torch.tensor([[1.0, 2.0, 9.0], [3.0, 9.0, 9.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    assert objectives.reduce(x, mask) == 2.0
    assert objectives.reduce(x, mask, "sequence") == 2.25
    assert objectives.reduce(x, mask, "token", 12) == 0.5
    assert objectives.reduce(x, torch.zeros_like(mask)) == 0.0  # nobody acted: no loss, no NaN
    with pytest.raises(ValueError, match="token"):
        objectives.reduce(x, mask, "mean")


def test_kl_estimate_is_unbiased_and_never_negative() -> None:
    torch.manual_seed(0)
    logp, reference = torch.log_softmax(torch.randn(2, 6, dtype=torch.float64), -1)
    estimate = objectives.kl_estimate(logp, reference)
    assert (estimate >= 0).all()
    exact = (logp.exp() * (logp - reference)).sum()
    torch.testing.assert_close((logp.exp() * estimate).sum(), exact)  # its mean under pi, summed exactly
    assert (objectives.kl_estimate(logp, logp) == 0).all()


def test_regression_sums_over_critics_and_leaves_the_target_alone() -> None:
    value = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    target = torch.tensor([0.0, 1.0], requires_grad=True)
    loss = objectives.regression(value, target)
    assert loss == 0.5 * (1 + 1) / 2 + 0.5 * (9 + 9) / 2
    loss.backward()
    assert target.grad is None


def test_huber_is_square_near_and_straight_far() -> None:
    value, target = torch.tensor([0.5, 3.0]), torch.zeros(2)
    assert objectives.huber(value, target) == (0.5 * 0.25 + 2.5) / 2


def test_policy_gradient_is_the_gradient_of_the_expected_advantage() -> None:
    """sum_a pi(a) grad(-A log pi(a)) = -grad sum_a pi(a) A(a)."""
    torch.manual_seed(0)
    logits, advantage = torch.randn(5, requires_grad=True), torch.randn(5)
    logp = torch.log_softmax(logits, -1)
    surrogate = (logp.detach().exp() * objectives.policy_gradient(logp, advantage)).sum()
    (got,) = torch.autograd.grad(surrogate, logits)
    (expected,) = torch.autograd.grad(-(torch.softmax(logits, -1) * advantage).sum(), logits)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("level", [0.1, 0.5, 0.7, 0.9, 0.99])
def test_expectile_of_a_uniform_distribution(level: float) -> None:
    """Of U(0, 1): level (1 - e)^2 / 2 = (1 - level) e^2 / 2, so e = sqrt(level) / (sqrt(level) + sqrt(1 - level))."""
    draws = (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
    value = torch.tensor(0.5, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([value], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        found = objectives.expectile(value.expand_as(draws), draws, level)
        found.backward()
        return found

    optimiser.step(loss)
    expected = level**0.5 / (level**0.5 + (1 - level) ** 0.5)
    assert value.item() == pytest.approx(expected, abs=1e-4)


def test_expectile_of_a_coin() -> None:
    """Of 1 with probability p, else 0: level p (1 - e) = (1 - level) (1 - p) e. At 0.5 it is the mean."""
    p, draws = 0.15, torch.tensor([1.0] * 15 + [0.0] * 85)
    for level in (0.5, 0.9):
        e = level * p / (level * p + (1 - level) * (1 - p))
        value = torch.tensor(e, requires_grad=True)
        objectives.expectile(value.expand(100), draws, level).backward()
        assert value.grad is not None
        assert abs(value.grad.item()) < 1e-6
    target = torch.ones(3, requires_grad=True)
    (gradient,) = torch.autograd.grad(
        objectives.expectile(torch.zeros(3, requires_grad=True), target, 0.7), target, allow_unused=True
    )
    assert gradient is None, "the target is left alone"
