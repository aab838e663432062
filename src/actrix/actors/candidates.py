"""Several proposals, one choice: what every best-of-N shares."""

from __future__ import annotations

import torch
from torch import Tensor

from actrix.actors.categorical import choose
from actrix.errors import ActrixError


def select(candidates: Tensor, score: Tensor, mode: str = "max", temperature: float = 1.0) -> Tensor:
    """One of K candidates for each of B rows: [B, K, A], score [B, K] -> [B, A].

    mode: "max" takes the one of the highest score (the first of equals); "sample" draws from
    softmax(score / temperature).
    """
    if mode == "max":
        pick = score.argmax(-1)
    elif mode == "sample":
        pick = choose(score / temperature)
    else:
        raise ActrixError(f"candidates are selected by max or sample, not {mode!r}", misuse=True)
    index = pick[:, None, None].expand(-1, 1, candidates.shape[-1])
    return torch.gather(candidates, 1, index)[:, 0]
