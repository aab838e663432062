"""Steps of working: where one ends and the next begins, in tokens."""

from __future__ import annotations

from collections.abc import Sequence

from actrix.language.tokens import Tokenizer


class Segments:
    """Cuts completions into steps. A step ends with a token whose text holds one of the marks, or with the completion.

    A token is never divided: where a mark lies inside one, the step ends after all of it.
    """

    def __init__(self, tokenizer: Tokenizer, marks: Sequence[str]) -> None:
        self.tokenizer, self.marks = tokenizer, tuple(marks)
        self._ends: dict[int, bool] = {}

    def ends(self, token: int) -> bool:
        """Whether a step ends with this token."""
        if token not in self._ends:
            text = self.tokenizer.decode([token])
            self._ends[token] = any(mark in text for mark in self.marks)
        return self._ends[token]

    def starts(self, tokens: Sequence[int]) -> list[int]:
        """Where the steps of a completion begin: 0 first, ascending, all below its length."""
        return [i for i in range(len(tokens)) if i == 0 or self.ends(tokens[i - 1])]

    def first(self, tokens: Sequence[int]) -> int:
        """Tokens of a completion's first step."""
        return next((i + 1 for i, token in enumerate(tokens) if self.ends(token)), len(tokens))
