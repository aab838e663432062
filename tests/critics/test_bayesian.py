"""Gaussian processes of values and gradients, against the same in parameter space and by conditioning."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from actrix.actors.linear import inner_scores
from actrix.actors.stochastic import stochastic
from actrix.critics import bayesian
from actrix.nets.features import Features, LinearNet
from actrix.spec import Box, Choices, Part, Spec

T, N = 12, 7  # scores, parameters


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def normal(rng: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def information(u: Tensor, ridge: float) -> Tensor:
    """G of scores [T, N], with the ridge that inner products know."""
    return u.T @ u / len(u) + ridge * (u @ u.T).diagonal().mean() / len(u) * torch.eye(u.shape[1], dtype=u.dtype)


@pytest.mark.parametrize("parameters", [3, 40])
def test_what_follows_from_inner_products_is_what_parameters_say(rng: torch.Generator, parameters: int) -> None:
    u, w = normal(rng, T, parameters), normal(rng, T)
    inverse = information(u, 0.1).inverse()
    torch.testing.assert_close(bayesian.fisher_kernel(u @ u.T, 0.1), u @ inverse @ u.T)
    torch.testing.assert_close(u.T @ bayesian.natural(u @ u.T, w, 0.1), inverse @ u.T @ w)


@pytest.mark.parametrize("kind", ["choices", "box"])
@pytest.mark.parametrize("count", [0, 5])
def test_scores_of_linear_policies_are_their_gradients(kind: str, count: int) -> None:
    torch.manual_seed(0)
    action = Choices((3, 2), "multidiscrete", (0, 0)) if kind == "choices" else Box(2, (2,), None, None)
    spec = Spec((Part("row", 0, 4, (4,)),), action)
    outputs = sum(action.sizes) if isinstance(action, Choices) else 2
    actor = stochastic(spec, log_std=0.3, net=LinearNet(Features(spec, count), outputs))
    with torch.no_grad():
        actor.net.weight.normal_()
    obs = torch.randn(T, 4)
    mask = None
    if kind == "choices":
        mask = torch.rand(T, 5) < 0.7
    decided = actor.act(obs, "sample", mask).action.detach()
    rows = []
    for i in range(T):
        logp, _ = actor.evaluate(obs[i : i + 1], decided[i : i + 1], None if mask is None else mask[i : i + 1])
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(logp.sum(), list(actor.parameters()))]))
    u = torch.stack(rows).double()
    assert float(u.norm()) > 1
    torch.testing.assert_close(inner_scores(actor, obs, decided, mask), u @ u.T, rtol=1e-4, atol=1e-4)


def test_over_whole_episodes_it_is_regression_on_returns(rng: torch.Generator) -> None:
    kernel = bayesian.gaussian_kernel(normal(rng, T, 2), 1.0)
    reward, ended = normal(rng, T), torch.zeros(T, dtype=torch.bool)
    ended[[4, 11]] = True
    returns, running = torch.zeros_like(reward), torch.tensor(0.0, dtype=torch.float64)
    for t in reversed(range(T)):
        running = reward[t] + (0.0 if ended[t] else 0.9 * running)
        returns[t] = running
    weight = bayesian.gptd(kernel, reward, ~ended, ended, 0.9, 0.3)
    expected = torch.linalg.solve(kernel + 0.3 * torch.eye(T, dtype=torch.float64), returns)
    torch.testing.assert_close(weight, expected)


def test_steps_whose_successor_is_unknown_say_nothing(rng: torch.Generator) -> None:
    """By conditioning on the other equations alone."""
    kernel, reward = bayesian.gaussian_kernel(normal(rng, T, 2), 1.0), normal(rng, T)
    goes_on, ended = torch.ones(2, T, dtype=torch.bool)
    ended[:] = False
    goes_on[[3, 7, 11]], ended[3] = False, True  # cut at 7 and 11
    weight = bayesian.gptd(kernel, reward, goes_on, ended, 0.9, 0.3)
    known = goes_on | ended
    step = (torch.eye(T, dtype=torch.float64) - 0.9 * torch.diag(goes_on[:-1].double(), 1))[known]
    among = step @ (kernel + 0.3 * torch.eye(T, dtype=torch.float64)) @ step.T
    torch.testing.assert_close(weight, step.T @ torch.linalg.solve(among, reward[known]))
    other = torch.where(known, reward, 100.0)
    assert torch.equal(bayesian.gptd(kernel, other, goes_on, ended, 0.9, 0.3), weight)


def test_quadrature_is_that_of_parameter_space(rng: torch.Generator) -> None:
    u, returns = normal(rng, T, N), normal(rng, T)
    fisher = u @ information(u, 0.1).inverse() @ u.T
    noisy = 0.2 * torch.eye(T, dtype=torch.float64)
    first = (u * returns[:, None]).T @ torch.linalg.solve((1 + fisher) ** 2 + noisy, 1 + fisher.diagonal())
    torch.testing.assert_close(u.T @ bayesian.quadrature(u @ u.T, returns, 0.2, 0.1, 1), first)
    second = u.T @ torch.linalg.solve(fisher + noisy, returns)
    torch.testing.assert_close(u.T @ bayesian.quadrature(u @ u.T, returns, 0.2, 0.1, 2), second)
    # of returns that are all noise nothing is left but their Monte-Carlo gradient
    vague = u.T @ bayesian.quadrature(u @ u.T, returns, 1e9, 0.1, 2)
    plain = u.T @ returns
    assert torch.nn.functional.cosine_similarity(vague, plain, dim=0) > 1 - 1e-6


def test_random_cosines_are_a_gaussian_kernel() -> None:
    torch.manual_seed(0)
    spec = Spec((Part("row", 0, 3, (3,)),), Choices((2,), "discrete", (0,)))
    rows = torch.randn(20, 3)
    made = Features(spec, 20_000, 1.5)(rows)
    assert torch.equal(made[:, -1], torch.ones(20))
    found = made[:, :-1] @ made[:, :-1].T
    torch.testing.assert_close(found.double(), bayesian.gaussian_kernel(rows, 1.5), rtol=0, atol=0.05)
