"""A policy that is a table: one logit per answer, in float64. A language model of one-token answers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from actrix.errors import ActrixError
from actrix.language.model import LanguageModel

FIRST = 3  # ids of answers start here: before them are the padding, the end token and the prompt's token
_NEVER = -1e9  # logit of what is no answer


class TabularModel(LanguageModel):
    """The same distribution over the ids from `FIRST` on after every prefix; all answers are equally likely at first.

    Float64, so that what is exact on paper is exact to rounding here.
    """

    def __init__(self, vocab: int, context: int) -> None:
        super().__init__()
        self.vocab, self.context, self.width = vocab, context, 0
        self.table = nn.Parameter(torch.zeros(vocab - FIRST, dtype=torch.float64))

    def row(self) -> Tensor:
        """Logits [V]."""
        return F.pad(self.table, (FIRST, 0), value=_NEVER)

    def hidden(self, tokens_BL: Tensor) -> Tensor:
        raise ActrixError("a table has no state that a value head could read", "use --model micro", misuse=True)

    def logits(self, tokens_BL: Tensor, lengths_B: Tensor | None = None) -> Tensor:
        """In float32, as other models'; `log_prob` keeps the table's precision."""
        return self.row().float().expand(*tokens_BL.shape, -1)

    def _score(
        self, tokens_BL: Tensor, lengths_B: Tensor | None, temperature: float, entropy: bool
    ) -> tuple[Tensor, Tensor]:
        """One softmax for all rows."""
        every = (self.row() / temperature).log_softmax(-1)
        logp = every[tokens_BL[:, 1:]]
        spread = -(every.exp() * every).sum().detach() if entropy else every.new_zeros(())
        return logp, spread.expand(logp.shape)

    def decoder(self) -> _Decoder:
        return _Decoder(self)


class _Decoder:
    def __init__(self, model: TabularModel) -> None:
        self.row = model.row().detach()

    def rows_at_once(self, capacity: int) -> int | None:
        return None

    def start(self, tokens_BL: Tensor, lengths_B: Tensor, capacity: int, copies: int = 1) -> _Decoding:
        return _Decoding(self.row, tokens_BL.shape[0] * copies)


class _Decoding:
    def __init__(self, row: Tensor, rows: int) -> None:
        self.row = row
        self.logits = row.expand(rows, -1)

    def step(self, token_B: Tensor) -> Tensor:
        return self.row.expand(len(token_B), -1)

    def keep(self, rows: Tensor) -> None:
        self.logits = self.logits[rows]
