"""Losses of critics that return distributions."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

FLOOR = 0.1  # keeps quotients by a standard deviation finite


def variance_weight(std: Tensor, spread: Tensor | None) -> Tensor:
    """What `gaussian_regression` is weighted by, no gradient: std [E, B], spread [E, 1] -> [E, B].

    spread^2 / (std^2 + 0.1), within [0.1, 10], where `spread` is a running mean of std: the size of the gradient no
    longer follows the scale of the rewards (DSAC-T). None is 1 / (std^2 + 0.1), the maximum-likelihood weight (DSAC).
    """
    variance = std.detach().square() + FLOOR
    return 1 / variance if spread is None else (spread.detach().square() / variance).clamp(0.1, 10.0)


def gaussian_regression(
    mean: Tensor, std: Tensor, target: Tensor, sample: Tensor, bound: Tensor | float, weight: Tensor, huber: float
) -> Tensor:
    """Sum over E critics of a loss whose gradient moves `mean` to the target, and `std` to the distance of a sample.

    mean, std: [E, B]. target: [B] or [E, B], what the mean is fitted to. sample: the same, a draw of the target
    distribution; it is clipped to `bound` (number or [E, 1]) around the mean. weight: [E, B]. huber: the error from
    which on the squared error grows linearly, in units of return.

        d/d mean = weight (mean - target);   d/d std = weight (std^2 - (sample - mean)^2) / (std + 0.1)

    Source: DSAC-T (2310.05858), the refined gradients. The published code compares std^2 with half of the squared
    error; here, as in the paper, with all of it, so that std is the standard deviation of the return.
    """
    still, spread = mean.detach(), std.detach()
    clipped = still + (sample.detach() - still).clamp(-bound, bound)  # type: ignore[arg-type]
    squared = 2 * F.huber_loss(still, clipped, reduction="none", delta=huber)
    error = F.huber_loss(mean, target.detach().expand_as(mean), reduction="none", delta=huber)
    surplus = std * (spread.square() - squared) / (spread + FLOOR)
    return (weight.detach() * (error + surplus)).mean(-1).sum()


def gaussian_likelihood(mean: Tensor, std: Tensor, target: Tensor) -> Tensor:
    """Sum over E critics of the mean of -log N(target; mean, std^2): mean, std [E, B], target [B] (no gradient to it).

    d/d mean = (mean - target) / std^2;   d/d std = (std^2 - (target - mean)^2) / std^3
    """
    noise = (target.detach() - mean) / std
    return (0.5 * noise.square() + std.log() + 0.5 * math.log(2 * math.pi)).mean(-1).sum()


def cross_entropy(logp: Tensor, probability: Tensor) -> Tensor:
    """Mean over critics and rows of -sum_k p_k log q_k: logp [E, B, K], probability [1, B, K] (no gradient to it)."""
    return -(probability.detach() * logp).sum(-1).mean()
