"""Back-tests against arithmetic, and classical portfolios against brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actrix.envs.portfolio import SHARPNESS, Portfolios, softmax
from actrix.errors import ActrixError
from actrix.evaluate.portfolios import (
    RULES,
    action_of,
    backtest,
    calmar,
    drawdown,
    learned,
    long_only,
    moments,
    sharpe,
    simplex,
    sortino,
    window_returns,
)

NAME = "actrix.envs.portfolio:Portfolio-v0"


def test_figures_by_hand() -> None:
    returns = np.log([1.1, 0.5, 1.2, 1.0])
    assert drawdown(returns) == pytest.approx(0.5)
    assert drawdown(np.log([0.9, 0.8])) == pytest.approx(1 - 0.72)
    assert drawdown(np.log([1.1, 1.2])) == 0.0
    assert calmar(returns) == pytest.approx(((1.1 * 0.5 * 1.2) ** (252 / 4) - 1) / 0.5)
    mixed = np.array([0.01, -0.03, 0.02, 0.04])
    assert sharpe(mixed) == pytest.approx(np.sqrt(252) * 0.01 / np.std(mixed))
    assert sortino(mixed) == pytest.approx(np.sqrt(252) * 0.01 / 0.015)
    assert sharpe(np.zeros(3)) == sortino(np.ones(3)) == 0.0


def test_actions_ask_for_their_weights() -> None:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.full(5, 3.0), 50)
    np.testing.assert_allclose(softmax(SHARPNESS * action_of(weights)), weights, atol=1e-3)
    least = np.exp(-2 * SHARPNESS)
    found = softmax(SHARPNESS * action_of(np.array([[0.0, 1.0, 0.0]])))
    np.testing.assert_allclose(found[0], np.array([least, 1.0, least]) / (1 + 2 * least))


def test_a_point_of_the_simplex_is_the_nearest() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(40, 3))
    found = simplex(x)
    np.testing.assert_allclose(found.sum(-1), 1.0)
    assert (found >= 0).all()
    others = rng.dirichlet(np.full(3, 0.5), 20_000)
    nearest = np.linalg.norm(x[:, None] - others, axis=-1).min(1)
    assert (np.linalg.norm(x - found, axis=-1) <= nearest + 1e-9).all()


@pytest.mark.parametrize("tolerance", [0.0, 0.1])
def test_long_only_portfolios_are_the_best_there_are(tolerance: float) -> None:
    side = Portfolios(20, assets=3, window=15)
    side.reset(seed=0)
    mean, covariance = moments(side)
    found = long_only(mean, covariance, tolerance)

    def worth(w: np.ndarray) -> np.ndarray:
        risk = np.einsum("gi,kij,gj->kg", w, covariance, w)
        return np.asarray(tolerance * mean @ w.T - 0.5 * risk)

    grid = np.array([(a, b, 1 - a - b) for a in np.linspace(0, 1, 101) for b in np.linspace(0, 1, 101) if a + b <= 1])
    best = worth(grid).max(1)
    mine = np.array([worth(found[k][None])[k, 0] for k in range(20)])
    assert (mine >= best - 1e-4 * np.abs(best)).all()


def test_rules_meet_the_same_paths_and_pay_for_their_trades(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    close = 10 * np.exp(np.cumsum(0.02 * rng.standard_normal((60, 2)), 0))
    np.savez(tmp_path / "p.npz", close=close)
    env = f"{NAME}?prices={tmp_path / 'p.npz'}&days=50&window=10&start=first"
    found = {cost: backtest(f"{env}&cost={cost}", RULES["equal"], episodes=1) for cost in (0.0, 0.01)}
    w = softmax(SHARPNESS * np.array([-1.0, 1.0, 1.0]))
    relative = close[10:60] / close[9:59]
    np.testing.assert_allclose(found[0.0].returns[:, 0], np.log(w[0] + relative @ w[1:]), atol=1e-9)
    difference = found[0.0].returns - found[0.01].returns
    np.testing.assert_allclose(difference, -np.log1p(-0.01 * found[0.0].turnover), atol=1e-9)
    assert found[0.0].figures()["growth"] == pytest.approx(np.prod(w[0] + relative @ w[1:]) - 1)


def test_risk_parity_and_minimum_variance_take_less_of_what_varies() -> None:
    side = Portfolios(50, assets=3, window=30)
    side.reset(seed=0)
    std = window_returns(side).std(1)
    for rule in ("risk parity", "minimum variance"):
        w = softmax(SHARPNESS * RULES[rule](side, np.empty(0)))
        by_risk = np.take_along_axis(w[:, 1:], std.argsort(1), 1).mean(0)
        assert by_risk[0] > by_risk[1] > by_risk[2], rule
    w = softmax(SHARPNESS * RULES["risk parity"](side, np.empty(0)))[:, 1:]
    np.testing.assert_allclose(w * std, (w * std)[:, :1].repeat(3, 1), rtol=1e-3)


def test_a_policy_is_a_rule() -> None:
    seen: list[tuple[int, ...]] = []

    def act_rows(rows: np.ndarray) -> list[np.ndarray]:
        seen.append(rows.shape)
        return [np.array([-1.0, 1.0, 1.0])] * len(rows)

    env = f"{NAME}?assets=2&days=6&window=5"
    found, equal = (backtest(env, rule, 4) for rule in (learned(act_rows), RULES["equal"]))
    np.testing.assert_array_equal(found.returns, equal.returns)
    assert seen == [(4, 2 * 5 + 3 + 3)] * 6
    with pytest.raises(ActrixError, match="no environment of portfolios"):
        backtest("actrix.envs.plane:PointOpen-v0", RULES["equal"], 2)
