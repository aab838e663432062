"""Back-tests of portfolios: what a rule earns on paths it has not learned from, and the classical rules to beat.

    policy = actrix.load("runs/...").act_rows                     # a finished run's
    test = "actrix.envs.portfolio:Portfolio-v0?prices=stocks.csv&since=2021-01-01&start=first&days=240"
    print(backtest(test, learned(policy)).figures())
    print(backtest(test, RULES["minimum variance"]).figures())

Figures are of log returns, one a day, 252 a year. Sharpe ratios are of returns above 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from actrix.envs.many import make_worlds
from actrix.envs.portfolio import SHARPNESS, Portfolios, weights_of
from actrix.envs.worlds import VectorWorlds
from actrix.errors import ActrixError
from actrix.rng import seed_of

Array = npt.NDArray[np.float64]
Rule = Callable[[Portfolios, Any], Array]
"""(the portfolios, their observation rows [K, D]) -> actions [K, 1 + N] in [-1, 1]"""
YEAR = 252


@dataclass(frozen=True)
class Backtest:
    """K episodes of T days: log returns [T, K], and what was traded of the portfolio [T, K]."""

    returns: Array
    turnover: Array

    def sharpe(self) -> float:
        """Of all days of all episodes, a year."""
        return float(sharpe(self.returns.reshape(-1)))

    def figures(self) -> dict[str, float]:
        """Sharpe ratio of all days; and the means over episodes of: the growth of the portfolio, the Sortino and Calmar
        ratios, the largest loss from a peak as a share of it, and the share traded a day."""
        columns = list(self.returns.T)
        return {
            "sharpe": self.sharpe(),
            "growth": float(np.mean([np.expm1(r.sum()) for r in columns])),
            "sortino": float(np.mean([sortino(r) for r in columns])),
            "calmar": float(np.mean([calmar(r) for r in columns])),
            "drawdown": float(np.mean([drawdown(r) for r in columns])),
            "turnover": float(self.turnover.mean()),
        }


def sharpe(returns: Array) -> float:
    """sqrt(252) mean / standard deviation; 0 where nothing varies."""
    spread = returns.std()
    return float(np.sqrt(YEAR) * returns.mean() / spread) if spread > 1e-12 else 0.0


def sortino(returns: Array) -> float:
    """sqrt(252) mean / root mean square of the losses; 0 where there are none."""
    loss = np.sqrt(np.square(np.minimum(returns, 0.0)).mean())
    return float(np.sqrt(YEAR) * returns.mean() / loss) if loss > 1e-12 else 0.0


def drawdown(returns: Array) -> float:
    """The largest loss from a peak, the start included, as a share of it."""
    value = np.concatenate(([0.0], np.cumsum(returns)))
    return float(-np.expm1((value - np.maximum.accumulate(value)).min()))


def calmar(returns: Array) -> float:
    """Growth a year per drawdown; 0 where there is none."""
    worst = drawdown(returns)
    return float(np.expm1(YEAR * returns.mean()) / worst) if worst > 1e-12 else 0.0


def backtest(env: str, rule: Rule, episodes: int = 100, seed: int = 0) -> Backtest:
    """Play whole episodes by a rule. Their paths follow from the seed alone: two rules meet the same."""
    worlds = make_worlds(env, episodes, vector="batched")
    assert isinstance(worlds, VectorWorlds)
    side = worlds.env
    if not isinstance(side, Portfolios):
        raise ActrixError(f"{env} is no environment of portfolios", "see actrix.envs.portfolio", misuse=True)
    obs, _ = worlds.reset([seed_of(seed, "back-test", i) % 2**31 for i in range(episodes)])
    returns, turnover = [], []
    for _ in range(side.days):
        action = worlds.action_map.to_env_rows(rule(side, obs))
        before = side.weights
        value = side.value
        tree = side.step(action)[0]
        returns.append(np.log(side.value / value))
        turnover.append(np.abs(weights_of(action) - before)[:, 1:].sum(1))
        obs = worlds.obs_map.rows(tree)
    worlds.close()
    return Backtest(np.array(returns), np.array(turnover))


def action_of(weights: Array) -> Array:
    """The action [..., 1 + N] whose weights are nearest to these: those below exp(-2 SHARPNESS) of the largest are
    raised to it."""
    log = np.log(np.maximum(weights, 1e-12))
    return np.asarray(np.clip(1.0 + (log - log.max(-1, keepdims=True)) / SHARPNESS, -1.0, 1.0))


def learned(act_rows: Callable[[Any], Any]) -> Rule:
    """A trained policy as a rule: observation rows [K, D] to actions [K, 1 + N]."""
    return lambda side, obs: np.asarray(act_rows(obs), np.float64)


def equal(side: Portfolios, obs: Any) -> Array:
    """The same of every asset."""
    return action_of(invested(np.ones((side.num_envs, side.size))))


def risk_parity(side: Portfolios, obs: Any) -> Array:
    """Each asset by the inverse of its standard deviation in the window: the same risk from each, correlations left
    aside."""
    return action_of(invested(1.0 / (window_returns(side).std(1) + 1e-8)))


def minimum_variance(side: Portfolios, obs: Any) -> Array:
    """The least variance by the covariance of the window, without short positions."""
    return action_of(invested(long_only(*moments(side), 0.0)))


def mean_variance(side: Portfolios, obs: Any) -> Array:
    """The best w . mean - 5 w . covariance w by the moments of the window, without short positions."""
    return action_of(invested(long_only(*moments(side), 0.1)))


RULES: dict[str, Rule] = {
    "equal": equal, "risk parity": risk_parity, "minimum variance": minimum_variance, "mean variance": mean_variance,
}  # fmt: skip


def window_returns(side: Portfolios) -> Array:
    """Log returns [K, window - 1, N] of the days that are seen."""
    return np.diff(np.log(side.closes()), axis=1)


def moments(side: Portfolios) -> tuple[Array, Array]:
    """Mean [K, N] and covariance [K, N, N] of the log returns that are seen; a tenth of the covariance is shrunk to its
    diagonal, so that it can be inverted."""
    returns = window_returns(side)
    centred = returns - returns.mean(1, keepdims=True)
    covariance = np.einsum("kti,ktj->kij", centred, centred) / returns.shape[1]
    diagonal = np.einsum("kii->ki", covariance)[:, :, None] * np.eye(side.size) + 1e-10 * np.eye(side.size)
    return returns.mean(1), 0.9 * covariance + 0.1 * diagonal


def long_only(mean: Array, covariance: Array, tolerance: float, steps: int = 200) -> Array:
    """Weights [K, N] of at least 0 and sum 1 that maximise tolerance w . mean - w . covariance w / 2, by projected
    gradient ascent."""
    n = mean.shape[-1]
    step = 1.0 / np.linalg.norm(covariance, 2, axis=(-2, -1))[:, None]
    w = np.full(mean.shape, 1.0 / n)
    for _ in range(steps):
        w = simplex(w + step * (tolerance * mean - np.einsum("kij,kj->ki", covariance, w)))
    return w


def simplex(x: Array) -> Array:
    """The nearest points [..., N] whose numbers are at least 0 and sum to 1 (Duchi et al. 2008)."""
    ordered = -np.sort(-x, -1)
    excess = (np.cumsum(ordered, -1) - 1.0) / np.arange(1, x.shape[-1] + 1)
    count = (ordered > excess).sum(-1, keepdims=True)
    return np.asarray(np.maximum(x - np.take_along_axis(excess, count - 1, -1), 0.0))


def invested(weights: Array) -> Array:
    """Weights of assets [K, N], to be scaled to a sum of 1, with no cash [K, 1 + N]."""
    scaled = weights / weights.sum(-1, keepdims=True)
    return np.concatenate((np.zeros_like(scaled[:, :1]), scaled), -1)
