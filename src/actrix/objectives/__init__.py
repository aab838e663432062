"""From advantages to losses: pure functions of tensors. `reduce` is the only normaliser in the library."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def reduce(per_step: Tensor, mask: Tensor, mode: str = "token", denominator: Tensor | float | None = None) -> Tensor:
    """Average a per-step loss over the steps that count.

    per_step, mask: [B, T]. `mode`: "token" divides by the number of masked steps; "sequence" first averages
    within each row, then over rows. `denominator` replaces the count (steps or rows) of this batch by the
    global one: then the sum of the gradients of any split of a batch is the gradient of the whole.
    """
    mask = mask.to(per_step.dtype)
    if mode == "token":
        total, count = (per_step * mask).sum(), mask.sum()
    elif mode == "sequence":
        length = mask.sum(1)
        total = ((per_step * mask).sum(1) / length.clamp(min=1)).sum()
        count = (length > 0).to(per_step.dtype).sum()
    else:
        raise ValueError(f"mode must be 'token' or 'sequence', not {mode!r}")
    return total / (count.clamp(min=1) if denominator is None else denominator)


def clipped(
    logp: Tensor, logp_behaviour: Tensor, advantage: Tensor, clip: float, clip_high: float | None = None
) -> Tensor:
    """PPO's clipped surrogate per step, to be minimised: [B, T] -> [B, T].

    -min(r A, clip(r, 1 - clip, 1 + clip_high) A) with r = exp(logp - logp_behaviour); the same function for
    robots and for tokens. Source: Schulman et al. 2017, eq. 7; `clip_high` as in DAPO (2503.14476).
    """
    ratio = (logp - logp_behaviour).exp()
    bounded = ratio.clamp(1.0 - clip, 1.0 + (clip if clip_high is None else clip_high))
    return -torch.minimum(ratio * advantage, bounded * advantage)


def policy_gradient(logp: Tensor, advantage: Tensor) -> Tensor:
    """-A log pi per step: the likelihood-ratio gradient (Williams 1992)."""
    return -logp * advantage


def kl_estimate(logp: Tensor, logp_reference: Tensor) -> Tensor:
    """Per-step estimate of KL(pi || reference), non-negative and unbiased: exp(d) - d - 1, d = ref - pi.

    Source: Schulman, "Approximating KL divergence", estimator k3; GRPO (2402.03300) eq. 4.
    """
    delta = logp_reference - logp
    return delta.exp() - delta - 1.0


def regression(value_EB: Tensor, target_B: Tensor) -> Tensor:
    """Sum over E critics of the mean of half the squared error against one target; no gradient to the target."""
    return 0.5 * (value_EB - target_B.detach()).square().mean(-1).sum()


def huber(value: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
    """Mean Huber loss (DQN's clipped error for delta 1). value, target: same shape."""
    return F.huber_loss(value, target.detach(), delta=delta)


def expectile(value: Tensor, target: Tensor, level: float) -> Tensor:
    """Mean of |level - 1(target < value)| (target - value)^2: its minimum is the target's `level`-expectile.

    At 0.5 that is the mean; towards 1, the maximum. value, target: same shape. Source: Newey & Powell 1987; IQL
    (2110.06169), eq. 5.
    """
    error = target.detach() - value
    return (torch.where(error < 0, 1.0 - level, level) * error.square()).mean()
