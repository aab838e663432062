"""Variation of parameter vectors without gradients: how evolutionary search makes offspring."""

from __future__ import annotations

import torch
from torch import Tensor


def iso_line(first: Tensor, second: Tensor, iso: float, line: float) -> Tensor:
    """Offspring of two parents each, [P, n] and [P, n] -> [P, n], drawn from torch's current stream.

    x = first + iso N(0, I) + line (second - first) N(0, 1): a small step anywhere, and one along the line that joins
    the parents, where other good solutions tend to lie. Source: Vassiliades & Mouret 2018, Discovering the Elite
    Hypervolume by Leveraging Interspecies Correlation (1804.03906), eq. 2.
    """
    along = torch.randn(len(first), 1, device=first.device)
    return first + iso * torch.randn_like(first) + line * along * (second - first)
