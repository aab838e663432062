"""Losses of a critic that tells an expert from others: each a bound on a distance between what the two do."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

FORMS = ("reverse-kl", "jensen-shannon", "wasserstein")


def apart(expert: Tensor, other: Tensor, form: str = "reverse-kl") -> Tensor:
    """What a critic f that said `expert` [B] of an expert's steps, and `other` [B'] of others', is to minimise.

    reverse-kl: E_expert exp(-f) + E_other f, least at f = log(p_expert / p_other), where it is 1 - KL(other || expert).
    jensen-shannon: the logistic loss, least at the same f; the discriminator of GAIL and DAC.
    wasserstein: E_other f - E_expert f, for an f of bounded slope.
    Source: Chang et al. 2024 (2404.08513), section 3; Kostrikov et al. 2018 (1809.02925).
    """
    if form == "reverse-kl":
        return (-expert).exp().mean() + other.mean()
    if form == "jensen-shannon":
        return F.softplus(-expert).mean() + F.softplus(other).mean()
    if form == "wasserstein":
        return other.mean() - expert.mean()
    raise ValueError(f"form must be one of {', '.join(FORMS)}, not {form!r}")
