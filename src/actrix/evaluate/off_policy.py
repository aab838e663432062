"""What a policy would have earned, by the records of another: off-policy evaluation."""

from __future__ import annotations

from torch import Tensor


def ncis(logp: Tensor, logp_behaviour: Tensor, value: Tensor, most: float = 10.0) -> tuple[Tensor, Tensor]:
    """Normalised clipped importance sampling: sum rho x / sum rho with rho = min(pi(a|s) / b(a|s), most).

    logp, logp_behaviour: [B] of recorded actions; value: [B] or [K, B], what came of them. Returns the estimates ([] or
    [K]) and the effective sample size (sum rho)^2 / sum rho^2, []: where it is a small part of B, a few rows decide,
    and the estimate means little. One ratio for each row: what a policy does to the states that come is not in it.
    Source: Zou et al. 2019 (1902.05570); Swaminathan & Joachims 2015 (self-normalisation).
    """
    weight = (logp - logp_behaviour).exp().clamp(max=most)
    return (weight * value).sum(-1) / weight.sum(), weight.sum().square() / weight.square().sum()
