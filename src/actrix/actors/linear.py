"""Policies that are linear in fixed features."""

from __future__ import annotations

import torch
from torch import Tensor

from actrix.actors.categorical import Categorical
from actrix.actors.gaussian import Gaussian
from actrix.nets.features import LinearNet


def inner_scores(actor: Categorical | Gaussian, obs: Tensor, action: Tensor, mask: Tensor | None = None) -> Tensor:
    """Inner products [T, T] of the scores of decisions [T, D], [T, A] by a policy whose net is a `LinearNet`, over its
    weights and, of a Gaussian, its log standard deviations."""
    assert isinstance(actor.net, LinearNet)
    with torch.no_grad():
        features = actor.net.features(obs)
        output = features @ actor.net.weight
    with torch.enable_grad():
        output = output.requires_grad_()
        (slope,) = torch.autograd.grad(actor.judge(output, action, mask)[0].sum(), output)
    features, slope = features.double(), slope.double()
    found = (slope @ slope.T) * (features @ features.T)
    if isinstance(actor, Gaussian):
        spread = (slope * actor.log_std.detach().double().exp()).square() - 1
        found = found + spread @ spread.T
    return found
