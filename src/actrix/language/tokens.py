"""Text to token ids and back.

A tokenizer never decides what is trained on: masks are built from lengths and roles. A special id such as
`eos` may therefore turn up as an ordinary token, and padding may be any id.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

from actrix.errors import ActrixError

T = TypeVar("T")


@runtime_checkable
class Tokenizer(Protocol):
    """What the library asks of a tokenizer."""

    @property
    def size(self) -> int:
        """Number of token ids, special ones included: every id is below it."""

    @property
    def pad(self) -> int:
        """The id that fills rows. It is masked by length, so it may equal another id."""

    @property
    def eos(self) -> int:
        """The id that ends a completion."""

    def encode(self, text: str) -> list[int]:
        """Ids of the text, without special tokens."""

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of the ids; special ones give nothing."""


class ByteTokenizer:
    """Ids 0 to 255 are the bytes of UTF-8; then pad, bos, eos. Encodes any text; 259 ids."""

    pad, bos, eos = 256, 257, 258
    size = 259

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, tokens: Iterable[int]) -> str:
        return bytes(t for t in tokens if t < 256).decode(errors="replace")


class TaskTokenizer:
    """One id per character of a task's alphabet, after pad (0) and eos (1)."""

    pad, eos = 0, 1

    def __init__(self, alphabet: str) -> None:
        if len(set(alphabet)) != len(alphabet):
            raise ActrixError(f"the alphabet {alphabet!r} repeats a character")
        self.alphabet = alphabet
        self.size = len(alphabet) + 2
        self._id = {character: index + 2 for index, character in enumerate(alphabet)}

    def encode(self, text: str) -> list[int]:
        try:
            return [self._id[character] for character in text]
        except KeyError as error:
            raise ActrixError(
                f"the character {error.args[0]!r} in {text[:60]!r} is not in the task's alphabet {self.alphabet!r}",
                "use ByteTokenizer, which encodes any text",
            ) from None

    def decode(self, tokens: Iterable[int]) -> str:
        return "".join(self.alphabet[t - 2] for t in tokens if 2 <= t < self.size)


class WordTokenizer:
    """One id per word of a small language, after pad (0) and eos (1); a text is words with single spaces between.

    Where a word always ends an utterance, such as "?", it is the end token (`end`) and stays part of the text. Then an
    id without a word is written as "_": a text has as many words as tokens.
    """

    pad = 0

    def __init__(self, words: Sequence[str], end: str | None = None) -> None:
        if len(set(words)) != len(words) or any(not w or " " in w for w in words):
            raise ActrixError(f"words must be different, not empty, and without spaces: {list(words)}")
        self.words = tuple(words)
        self.size = len(words) + 2
        self._id = {word: index + 2 for index, word in enumerate(words)}
        self.eos = 1 if end is None else self._id[end]
        self.blank = [] if end is None else ["_"]
        self._id |= dict.fromkeys(self.blank, self.pad)

    def encode(self, text: str) -> list[int]:
        try:
            return [self._id[word] for word in text.split()]
        except KeyError as error:
            raise ActrixError(
                f"the word {error.args[0]!r} in {text[:60]!r} is not in the task's vocabulary",
                "use ByteTokenizer, which encodes any text",
            ) from None

    def decode(self, tokens: Iterable[int]) -> str:
        pieces = ([self.words[t - 2]] if 2 <= t < self.size else self.blank for t in tokens)
        return " ".join(word for piece in pieces for word in piece)


class HuggingFaceTokenizer:
    """Any `transformers` tokenizer. Where it has no padding id, the end-of-text id pads (masks are by length)."""

    def __init__(self, tokenizer: Any) -> None:
        if tokenizer.eos_token_id is None:
            raise ActrixError("this tokenizer has no end-of-text token", "set tokenizer.eos_token first")
        self.tokenizer = tokenizer
        self.eos: int = tokenizer.eos_token_id
        self.pad: int = self.eos if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self.size: int = len(tokenizer)

    def encode(self, text: str) -> list[int]:
        tokens: list[int] = self.tokenizer.encode(text, add_special_tokens=False)
        return tokens

    def decode(self, tokens: Iterable[int]) -> str:
        text: str = self.tokenizer.decode(list(tokens), skip_special_tokens=True)
        return text


def pad_right(rows: Sequence[Sequence[T]], pad: T, length: int | None = None) -> list[list[T]]:
    """Rows of one length: the longest row's, or `length`."""
    longest = max(map(len, rows)) if length is None else length
    return [[*row, *[pad] * (longest - len(row))] for row in rows]


def pad_left(rows: Sequence[Sequence[int]], pad: int) -> list[list[int]]:
    """Rows of the longest row's length, padded in front."""
    longest = max(map(len, rows))
    return [[*[pad] * (longest - len(row)), *row] for row in rows]
