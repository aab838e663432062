"""A critic that reads a sequence of tokens, and gives numbers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from actrix.nets.transformer import Transformer, TransformerConfig


class SequenceCritic(nn.Module):
    """A transformer with a linear head on the state at a row's last token."""

    def __init__(self, config: TransformerConfig, outputs: int) -> None:
        super().__init__()
        self.trunk = Transformer(config)
        self.head = nn.Linear(config.width, outputs)

    def forward(self, tokens_BL: Tensor, lengths_B: Tensor) -> Tensor:
        """Right-padded rows [B, L] with their lengths [B] -> numbers [B, outputs]. Padding has no influence."""
        hidden = self.trunk.hidden(tokens_BL)
        out: Tensor = self.head(hidden[torch.arange(len(hidden), device=hidden.device), lengths_B - 1])
        return out
