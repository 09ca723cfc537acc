"""The grammar of ListOps: grow an expression, work out its value, write it down, read it back. Knows no files and no
models, and imports nothing heavy: the worker processes of `listops_generate` start from here.

An expression is a `bytes` object in prefix order, one code a token: 0-9 the digits, 10-13 the operators of `OPERATORS`,
14 the closing bracket. Its *length* L counts those tokens; the parentheses of the written form do not count.

Source: Nangia & Bowman, "ListOps" (2018), as used by Tay et al., "Long Range Arena" (arXiv 2011.04006).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from manticore.errors import ManticoreError

OPERATORS = ("[MIN", "[MAX", "[MED", "[SM")
FIRST_OPERATOR = 10
CLOSE = FIRST_OPERATOR + len(OPERATORS)
WRITTEN = (*"0123456789", *OPERATORS, "]")
OPERATOR_PROBABILITY = 0.25
MIN_ARGS = 2
# Trees grow by recursion, which Python bounds.
DEEPEST = 200

_CODES = {token: code for code, token in enumerate(WRITTEN)} | {"(": CLOSE + 1, ")": CLOSE + 1}
_PARENTHESES = bytes([CLOSE + 1])
# What one token turns into inside its parent: an argument is followed by the parenthesis that applies it.
_PIECES = [f"{digit} )" for digit in range(10)] + [""] * len(OPERATORS) + ["] ) )"]


class ExpressionError(ManticoreError):
    """Text or codes that the grammar cannot have produced; the message says what was expected."""


@dataclass(frozen=True)
class Grammar:
    """Which expressions may be drawn. The defaults are those of Long Range Arena.

    Attributes:
        min_length: exclusive lower bound on the length, in tokens.
        max_length: exclusive upper bound on the length, in tokens.
        max_depth: level, the root being 1, at which every node is a digit; at most `DEEPEST`.
        max_args: most arguments of an operator; the fewest is 2.
    """

    min_length: int = 500
    max_length: int = 2000
    max_depth: int = 10
    max_args: int = 10

    def __post_init__(self) -> None:
        if self.min_length < 0 or self.max_length < self.min_length + 2:
            raise ManticoreError(
                f"lengths must satisfy 0 <= min_length < length < max_length (both bounds exclusive), "
                f"which no length does for min_length={self.min_length}, max_length={self.max_length}"
            )
        if not 1 <= self.max_depth <= DEEPEST:
            raise ManticoreError(f"max_depth must be from 1 to {DEEPEST}, got {self.max_depth}")
        if self.max_args < MIN_ARGS:
            raise ManticoreError(f"max_args must be at least {MIN_ARGS}, got {self.max_args}")


class _TooLongError(Exception):
    """The tree being grown can only be rejected."""


def draws(rng: random.Random, grammar: Grammar) -> Iterator[bytes | None]:
    """Endless attempts, one tree each: its codes if the length is within bounds, else None.

    A node at depth d < max_depth draws r ~ U[0, 1) and is a digit if r > 0.25; at max_depth it is a digit without that
    draw. An operator draws its number of arguments (uniform on 2..max_args), grows them left to right, and draws which
    operator it is (uniform) last of all.

    A tree is abandoned as soon as it outgrows the bound. It would have been rejected anyway, and the next tree starts
    at the next number of the same stream, which does not depend on those left unread: the distribution is unaffected.
    """
    uniform = rng.random
    deepest, limit = grammar.max_depth, grammar.max_length
    choices = grammar.max_args - MIN_ARGS + 1
    operators = len(OPERATORS)
    codes = bytearray()
    append = codes.append

    def operator(depth: int) -> None:
        at = len(codes)
        append(0)
        arguments = MIN_ARGS + int(uniform() * choices)
        if depth + 1 < deepest:
            for _ in range(arguments):
                if uniform() > OPERATOR_PROBABILITY:
                    append(int(uniform() * 10))
                else:
                    operator(depth + 1)
        else:
            for _ in range(arguments):
                append(int(uniform() * 10))
        codes[at] = FIRST_OPERATOR + int(uniform() * operators)
        append(CLOSE)
        if len(codes) >= limit:
            raise _TooLongError

    while True:
        codes.clear()
        if deepest == 1 or uniform() > OPERATOR_PROBABILITY:
            append(int(uniform() * 10))
        else:
            try:
                operator(1)
            except _TooLongError:
                yield None
                continue
        yield bytes(codes) if grammar.min_length < len(codes) < limit else None


def _apply(operator: int, arguments: list[int]) -> int:
    if operator == 10:
        return min(arguments)
    if operator == 11:
        return max(arguments)
    if operator == 13:
        return sum(arguments) % 10
    arguments.sort()
    middle = len(arguments) // 2
    # The mean of the two middle values is truncated: MED of 3 and 4 is 3.
    return arguments[middle] if len(arguments) % 2 else (arguments[middle - 1] + arguments[middle]) // 2


def _walk(codes: bytes) -> tuple[int, dict[int, int]]:
    """The value of an expression and, by position, how many arguments each operator has. Raises ExpressionError."""
    counts: dict[int, int] = {}
    above: list[tuple[list[int], int]] = []
    arguments: list[int] = []
    for position, code in enumerate(codes):
        if code < FIRST_OPERATOR:
            arguments.append(code)
        elif code < CLOSE:
            above.append((arguments, position))
            arguments = []
        else:
            if not above:
                raise ExpressionError("expected a balanced expression, found ']' without an operator")
            if not arguments:
                raise ExpressionError("expected every operator to have arguments, found one with none")
            outer, start = above.pop()
            counts[start] = len(arguments)
            outer.append(_apply(codes[start], arguments))
            arguments = outer
    if above:
        raise ExpressionError(f"expected a balanced expression, found {len(above)} operators without ']'")
    if len(arguments) != 1:
        raise ExpressionError(f"expected one expression, found {len(arguments)}")
    return arguments[0], counts


def _written(codes: bytes, counts: dict[int, int]) -> str:
    pieces = [_PIECES[code] for code in codes]
    for position, count in counts.items():
        pieces[position] = "( " * (count + 1) + WRITTEN[codes[position]]
    return " ".join(pieces)[:-2]


def evaluate(codes: bytes) -> int:
    """The value, 0-9. Raises ExpressionError if the codes are not exactly one expression."""
    return _walk(codes)[0]


def to_source(codes: bytes) -> str:
    """The official written form, parenthesised by left-nested application; 3L - 2 tokens separated by spaces.

    MAX(4, 9, 5) is `( ( ( ( [MAX 4 ) 9 ) 5 ) ] )`. Raises ExpressionError if the codes are not exactly one expression.
    """
    return _written(codes, _walk(codes)[1])


def from_source(source: str) -> tuple[bytes, int]:
    """Codes and value of a written expression; the inverse of `to_source`.

    Raises ExpressionError for a token the grammar has not, for brackets that do not balance and for parentheses that
    are not those `to_source` would write.
    """
    tokens = source.split()
    try:
        codes = bytes([_CODES[token] for token in tokens]).translate(None, _PARENTHESES)
    except KeyError as unknown:
        raise ExpressionError(f"expected one of {' '.join(WRITTEN)} ( ), found {unknown}") from None
    value, counts = _walk(codes)
    if _written(codes, counts) != " ".join(tokens):
        raise ExpressionError("expected every argument to be applied by its own pair of parentheses; they do not match")
    return codes, value
