"""Arithmetic expressions, read by a small parser (never `eval`) and computed exactly as fractions."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

_TOKEN = re.compile(r"\s*(\d+|[-+*/()])")
_DEEPEST = 50  # nested parentheses


class ExpressionError(ValueError):
    """Not an expression, or one without a value."""


@dataclass(frozen=True)
class Expression:
    """The value of an expression, and the numbers written in it, in order."""

    value: Fraction
    numbers: tuple[int, ...]


def parse(text: str) -> Expression:
    """Reads numbers, + - * / and parentheses with the usual precedence; raises ExpressionError.

    There is no unary sign. Division is exact, and by zero an error.

        sum     = product (("+" | "-") product)*
        product = atom (("*" | "/") atom)*
        atom    = number | "(" sum ")"
    """
    tokens = _tokens(text)
    numbers: list[int] = []
    position = 0

    def peek() -> str:
        return tokens[position] if position < len(tokens) else ""

    def take() -> str:
        nonlocal position
        position += 1
        return tokens[position - 1] if position <= len(tokens) else ""

    def total(depth: int) -> Fraction:
        value = product(depth)
        while peek() in ("+", "-"):
            value = value + product(depth) if take() == "+" else value - product(depth)
        return value

    def product(depth: int) -> Fraction:
        value = atom(depth)
        while peek() in ("*", "/"):
            if take() == "*":
                value *= atom(depth)
            else:
                divisor = atom(depth)
                if divisor == 0:
                    raise ExpressionError("division by zero")
                value /= divisor
        return value

    def atom(depth: int) -> Fraction:
        token = take()
        if token.isdigit():
            numbers.append(int(token))
            return Fraction(numbers[-1])
        if token != "(":
            raise ExpressionError(f"expected a number or a parenthesis, not {token or 'the end'!r}")
        if depth >= _DEEPEST:
            raise ExpressionError("nested too deeply")
        value = total(depth + 1)
        if take() != ")":
            raise ExpressionError("a parenthesis is not closed")
        return value

    value = total(0)
    if position < len(tokens):
        raise ExpressionError(f"unexpected {tokens[position]!r}")
    return Expression(value, tuple(numbers))


def _tokens(text: str) -> list[str]:
    if len(text) > 1000:
        raise ExpressionError("too long")
    text = text.strip()
    tokens, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ExpressionError(f"unexpected character {text[position]!r}")
        token = match[1]
        if not token.isascii() or len(token) > 30:
            raise ExpressionError(f"not a number: {token[:30]!r}")
        tokens.append(token)
        position = match.end()
    return tokens
