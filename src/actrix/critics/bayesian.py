"""Values and policy gradients as Gaussian processes, conditioned on what was seen.

A score is u(z) = grad log pi(a|s), z = (s, a), and S [T, T] are the inner products of T of them. The Fisher kernel is
u(z)^T G^-1 u(z') with G = mean of u u^T + ridge I; all that is needed of G^-1 follows from S, however many parameters
there are:

    Fisher kernel     S (S / T + ridge I)^-1
    natural gradient  G^-1 sum_t w_t u_t = sum_t v_t u_t,   v = (S / T + ridge I)^-1 w

Source: Ghavamzadeh, Engel and Valko 2016, Bayesian Policy Gradient and Actor-Critic Algorithms (JMLR 17:66), sections
3 to 6; Engel, Mannor and Meir 2005 for values from rewards (GPTD).
"""

from __future__ import annotations

import torch
from torch import Tensor


def natural(scores: Tensor, weight: Tensor, ridge: float) -> Tensor:
    """Weights v [T] such that sum_t v_t u_t is G^-1 sum_t w_t u_t. `ridge` is a share of the mean eigenvalue that G has
    on the span of the scores, of which there are as many."""
    return _solve(_fisher(scores, ridge), weight)


def fisher_kernel(scores: Tensor, ridge: float) -> Tensor:
    """u^T G^-1 u' of all pairs of scores [T, T]."""
    count = len(scores)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(_fisher(scores, ridge)))
    return count * (torch.eye(count, dtype=scores.dtype) - _ridge(scores, ridge) * inverse)


def gaussian_kernel(rows: Tensor, length: float) -> Tensor:
    """exp(-|x - y|^2 / (2 length^2)) of all pairs of rows [T, D] -> [T, T]."""
    rows = rows.double() / length
    return (-0.5 * torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist").square()).exp()


def gptd(kernel: Tensor, reward: Tensor, goes_on: Tensor, ended: Tensor, discount: float, noise: float) -> Tensor:
    """Q(z) = sum_t w_t k(z, z_t): the weights w [T] of the posterior mean, given that

        reward_t = Q(z_t) - discount Q(z_{t+1}) + what chance adds

    where row t + 1 is what came next (`goes_on`), and Q(z_t) alone where nothing came (`ended`); a row of neither kind
    says nothing. `noise` is the variance of a return about Q (the Monte-Carlo model: over whole episodes this is
    regression on returns). kernel [T, T], the others [T]. The posterior mean of the policy's gradient is sum_t w_t u_t,
    where the kernel is the Fisher kernel plus one of states.
    """
    known, follows = goes_on | ended, (discount * goes_on.to(kernel.dtype))[:-1, None]

    def predicted(rows: Tensor) -> Tensor:
        """Of Q of all steps, [T, ...], the rewards; where nothing is known, 0."""
        return torch.cat((rows[:-1] - follows * rows[1:], rows[-1:])) * known[:, None]

    noisy = kernel + noise * torch.eye(len(reward), dtype=kernel.dtype)
    seen = predicted(predicted(noisy).T) + torch.diag((~known).to(kernel.dtype))  # 0 = 0, where nothing is known
    told = _solve(seen, torch.where(known, reward, 0.0).to(kernel.dtype)) * known
    return told - torch.cat((torch.zeros_like(told[:1]), follows[:, 0] * told[:-1]))


def quadrature(scores: Tensor, returns: Tensor, noise: float, ridge: float, model: int) -> Tensor:
    """Bayesian quadrature over M whole trajectories, Markov or not, from the inner products [M, M] of their scores and
    their returns [M]: the weights w [M] of the posterior mean sum_i w_i u_i of the gradient.

    Model 1: return times score is the process, with kernel (1 + u^T G^-1 u')^2. Model 2: the return is, with kernel
    u^T G^-1 u'.
    """
    fisher, returns = fisher_kernel(scores, ridge), returns.to(scores.dtype)
    noisy = noise * torch.eye(len(returns), dtype=scores.dtype)
    if model == 1:
        return returns * _solve((1 + fisher).square() + noisy, 1 + fisher.diagonal())
    return _solve(fisher + noisy, returns)


def _ridge(scores: Tensor, ridge: float) -> Tensor:
    return ridge * scores.diagonal().mean().clamp_min(1e-12) / len(scores)  # there may be nothing to choose


def _fisher(scores: Tensor, ridge: float) -> Tensor:
    return scores / len(scores) + _ridge(scores, ridge) * torch.eye(len(scores), dtype=scores.dtype)


def _solve(positive: Tensor, right: Tensor) -> Tensor:
    factor = torch.linalg.cholesky(positive)
    columns = right if right.ndim == 2 else right[:, None]
    return torch.cholesky_solve(columns, factor).view_as(right)
