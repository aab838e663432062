"""Tokenizers: round trips, one protocol, and clear errors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actrix.errors import ActrixError
from actrix.language.tokens import (
    ByteTokenizer,
    HuggingFaceTokenizer,
    TaskTokenizer,
    Tokenizer,
    WordTokenizer,
    pad_left,
    pad_right,
)


@given(st.text())
def test_bytes_encode_any_text(text: str) -> None:
    text = text.encode(errors="ignore").decode()
    tokenizer = ByteTokenizer()
    tokens = tokenizer.encode(text)
    assert tokenizer.decode(tokens) == text
    assert tokenizer.decode([tokenizer.bos, *tokens, tokenizer.eos, tokenizer.pad]) == text
    assert all(0 <= t < 256 for t in tokens)


@given(st.text(alphabet="abc +"))
def test_a_task_s_characters_are_its_tokens(text: str) -> None:
    tokenizer = TaskTokenizer("abc +")
    tokens = tokenizer.encode(text)
    assert len(tokens) == len(text)
    assert tokenizer.decode([*tokens, tokenizer.eos, tokenizer.pad]) == text
    assert {tokenizer.pad, tokenizer.eos}.isdisjoint(tokens)
    assert all(t < tokenizer.size == 7 for t in tokens)


def test_a_character_outside_of_the_alphabet_is_named() -> None:
    with pytest.raises(ActrixError, match="'z'"):
        TaskTokenizer("abc").encode("abz")
    with pytest.raises(ActrixError, match="repeats"):
        TaskTokenizer("aba")


def test_a_hugging_face_tokenizer_through_the_same_protocol() -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="the extra [language] is not installed")
    transformers = pytest.importorskip("transformers", reason="the extra [language] is not installed")
    words = {"one": 0, "two": 1, "three": 2, "<end>": 3}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="<end>"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<end>")
    tokenizer = HuggingFaceTokenizer(wrapped)
    for each in (tokenizer, ByteTokenizer(), TaskTokenizer("ab")):
        assert isinstance(each, Tokenizer)
    assert tokenizer.encode("three one") == [2, 0]
    assert tokenizer.decode([2, 0, tokenizer.eos]) == "three one"
    assert (tokenizer.pad, tokenizer.eos, tokenizer.size) == (3, 3, 4)
    with pytest.raises(ActrixError, match="end-of-text"):
        HuggingFaceTokenizer(transformers.PreTrainedTokenizerFast(tokenizer_object=inner))


def test_padding() -> None:
    assert pad_right([[1], [2, 3]], 0) == [[1, 0], [2, 3]]
    assert pad_right([[1]], 9, 3) == [[1, 9, 9]]
    assert pad_left([[1], [2, 3]], 0) == [[0, 1], [2, 3]]


def test_words_with_an_end_token_that_is_read_and_one_that_is_not() -> None:
    plain, spoken = WordTokenizer(["a", "b", "?"]), WordTokenizer(["a", "b", "?"], end="?")
    assert plain.decode(plain.encode("b a ?")) == spoken.decode(spoken.encode("b a ?")) == "b a ?"
    assert (plain.eos, spoken.eos) == (1, 4)
    assert plain.decode([2, 1, 0, 3]) == "a b", "special ones give nothing"
    assert spoken.decode([2, 1, 0, 3]) == "a _ _ b", "as many words as tokens"
    assert len(spoken.encode("a _ _ b")) == 4
    with pytest.raises(ActrixError, match="'c'"):
        plain.encode("a c")
    for words in (["a", "a"], ["a b"], [""]):
        with pytest.raises(ActrixError, match="words must be different"):
            WordTokenizer(words)
