"""Pessimism about untried actions: what CQL pushes down, and how far Cal-QL lets it be pushed."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def soft_maximum(
    policy: Tensor,
    uniform: Tensor,
    floor: Tensor | None = None,
    logp: Tensor | None = None,
    action_size: int = 0,
) -> Tensor:
    """log sum exp of E critics over sampled actions of each row: [E, B]. Its gap to Q(s, a) of the data is the penalty.

    policy: values [E, B, K] of actions of the policy, which count as at least `floor` [B], the data's return from
    there (Cal-QL, 2303.05479; -inf where it is not known); uniform: values [E, B, U] of uniform actions.
    logp: log-densities [B, K] of the policy's actions, where it has them: then the sum is an estimate by importance
    sampling of log of the integral of exp Q(s, .) over actions of `action_size` numbers, up to log(K + U). Without
    them it is the plain sum over the samples. Source: CQL (2006.04779), appendix F.
    """
    if floor is not None:
        policy = policy.clamp(min=floor[:, None])
    if logp is not None:
        policy, uniform = policy - logp, uniform + action_size * math.log(2.0)
    return torch.cat((policy, uniform), -1).logsumexp(-1)
