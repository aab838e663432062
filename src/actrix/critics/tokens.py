"""A value of every prefix of a token sequence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actrix.errors import ActrixError
from actrix.nets.mlp import Linear


class Reader(Protocol):
    """A module that reads tokens, such as a language model without its output layer."""

    width: int

    def hidden(self, tokens_BL: Tensor) -> Tensor:
        """State [B, L, width] at each token."""

    def parameters(self) -> Iterator[nn.Parameter]: ...


class TextCritic(nn.Module):
    """Base of critics with a reader, which is a network of its own (not the actor's)."""

    reader: Reader

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        if not reader.width:
            raise ActrixError("this model has no state that a value head could read", "use --model micro", misuse=True)
        self.reader = reader


class TokenValue(TextCritic):
    """V(prefix) [B, L] of right-padded rows: column t values what stands before token t; column 0 is 0.

    The head starts at 0.
    """

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        self.head = Linear(reader.width, 1, gain=0.0)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        hidden = self.reader.hidden(tokens_BL)[:, :-1]
        return F.pad(self.head(hidden)[..., 0], (1, 0))


class TextReward(TextCritic):
    """One number [B] for each whole row, read off at its last token.

    `raw` is what is learned, from comparisons, so that where its zero lies says nothing; `forward` gives it in standard
    deviations from the mean of the scores that `settle` was given. The head starts at 0.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader)
        self.head = Linear(reader.width, 1, gain=0.0)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("std", torch.ones(()))

    def raw(self, tokens_BL: Tensor, lengths_B: Tensor) -> Tensor:
        """Right-padded rows with their lengths. Padding has no influence."""
        hidden = self.reader.hidden(tokens_BL)
        last = hidden[torch.arange(len(hidden), device=hidden.device), lengths_B - 1]
        out: Tensor = self.head(last)[:, 0]
        return out

    def forward(self, tokens_BL: Tensor, lengths_B: Tensor) -> Tensor:
        return (self.raw(tokens_BL, lengths_B) - self.mean) / self.std

    @torch.no_grad()
    def settle(self, scores: Tensor) -> None:
        """Take the zero and the unit from these scores."""
        self.mean.copy_(scores.mean())
        self.std.copy_(scores.std().clamp_min(1e-6))
