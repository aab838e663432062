"""Critics of conversations, utterance by utterance."""

from __future__ import annotations

import torch
from torch import Tensor

from actrix.critics.tokens import Reader, TextCritic
from actrix.critics.values import Value
from actrix.nets.mlp import MLP


class UtteranceCritic(TextCritic):
    """Q(s, a) and V(s), E of each, of a state of text s and an utterance a.

    One reader for all (it must read from left to right): V is read off at the last token of s, Q at that of a.
    """

    def __init__(self, reader: Reader, members: int = 2) -> None:
        super().__init__(reader)
        self.q = MLP(reader.width, (reader.width,), 1, members=members)
        self.v = MLP(reader.width, (reader.width,), 1, members=members)

    def forward(self, tokens_BL: Tensor, start_B: Tensor, stop_B: Tensor) -> tuple[Value, Value]:
        """Rows that begin with s (`start` tokens) and a (up to `stop`), and go on at will: (Q, V), members [E, B]."""
        hidden, row = self.reader.hidden(tokens_BL), torch.arange(len(tokens_BL), device=tokens_BL.device)
        q, v = self.q(hidden[row, stop_B - 1]), self.v(hidden[row, start_B - 1])
        return Value(q[..., 0]), Value(v[..., 0])
