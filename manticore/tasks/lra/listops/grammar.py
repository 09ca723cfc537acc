"""The grammar of ListOps: samples an expression, evaluates, writes and parses it.

An expression is a `bytes` object in prefix order with one code for each token: 0-9 for digits, 10-13 for the operators
of `OPERATORS`, 14 for the closing bracket. Its length L is the number of these tokens; the parentheses of the written
form do not count. Imports nothing heavy, because the worker processes of `generate` start from here.

Source: Nangia and Bowman, "ListOps" (2018), as used by Tay et al., "Long Range Arena" (arXiv 2011.04006).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from manticore.errors import ManticoreError

OPERATORS = ("[MIN", "[MAX", "[MED", "[SM")
FIRST_OPERATOR = 10
CLOSE = FIRST_OPERATOR + len(OPERATORS)
WRITTEN = (*"0123456789", *OPERATORS, "]")
OPERATOR_PROBABILITY = 0.25
MIN_ARGS = 2
DEEPEST = 200
"""Greatest `Grammar.max_depth`: trees are sampled by recursion, whose depth Python limits."""

_CODES = {token: code for code, token in enumerate(WRITTEN)} | {"(": CLOSE + 1, ")": CLOSE + 1}
_PARENTHESES = bytes([CLOSE + 1])
# The written form of each token inside its parent: an argument is followed by the parenthesis that applies it.
_PIECES = [f"{digit} )" for digit in range(10)] + [""] * len(OPERATORS) + ["] ) )"]


class ExpressionError(ManticoreError):
    """Text or codes that are no expression of the grammar; the message names the expected form."""


@dataclass(frozen=True)
class Grammar:
    """Bounds of the expressions that are sampled. The defaults are those of Long Range Arena.

    Attributes:
        min_length: exclusive lower bound on the length, in tokens.
        max_length: exclusive upper bound on the length, in tokens.
        max_depth: levels of an expression, the root included; every node of the last level is a digit.
        max_args: largest number of arguments of an operator; the smallest is 2.

    Raises ManticoreError if no length satisfies the bounds, or a bound is out of range.
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

    def shorter(self) -> Grammar:
        """The grammar with expressions of a quarter of the tokens: 20 to 80 become 5 to 20.

        Raises ManticoreError if no length is left.
        """
        return replace(
            self, min_length=max(0, (self.min_length + 1) // 4 - 1), max_length=(self.max_length - 1) // 4 + 1
        )


class _TooLongError(Exception):
    """The tree that is being sampled is longer than the upper bound."""


def draws(rng: random.Random, grammar: Grammar) -> Iterator[bytes | None]:
    """An endless sequence of sampled trees: the codes of a tree whose length is within the bounds, else None.

    A node at depth d < max_depth draws r ~ U[0, 1) and is a digit if r > 0.25; at max_depth it is a digit without that
    draw. An operator draws its number of arguments (uniform on 2..max_args), samples them from left to right, and draws
    its kind (uniform) last.

    Sampling stops at the first token beyond the upper bound, which would be rejected anyway. The next tree uses the
    next numbers of the same stream, which are independent of those that were not read, so the distribution of accepted
    trees is unchanged.
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
    # The median of an even number of values is the mean of the middle two, truncated: MED of 3 and 4 is 3.
    return arguments[middle] if len(arguments) % 2 else (arguments[middle - 1] + arguments[middle]) // 2


def _walk(codes: bytes) -> tuple[int, dict[int, int]]:
    """The value of an expression and the number of arguments of each operator, by its position.

    Raises ExpressionError if the codes are not exactly one expression.
    """
    counts: dict[int, int] = {}
    # Open operators, each with its position and with the arguments, so far, of the operator around it.
    stack: list[tuple[list[int], int]] = []
    arguments: list[int] = []
    for position, code in enumerate(codes):
        if code < FIRST_OPERATOR:
            arguments.append(code)
        elif code < CLOSE:
            stack.append((arguments, position))
            arguments = []
        else:
            if not stack:
                raise ExpressionError("expected a balanced expression, found ']' without an operator")
            if not arguments:
                raise ExpressionError("expected every operator to have arguments, found one with none")
            outer, start = stack.pop()
            counts[start] = len(arguments)
            outer.append(_apply(codes[start], arguments))
            arguments = outer
    if stack:
        raise ExpressionError(f"expected a balanced expression, found {len(stack)} operators without ']'")
    if len(arguments) != 1:
        raise ExpressionError(f"expected one expression, found {len(arguments)}")
    return arguments[0], counts


def _to_source(codes: bytes, counts: dict[int, int]) -> str:
    """`to_source`, with the number of arguments of each operator."""
    pieces = [_PIECES[code] for code in codes]
    for position, count in counts.items():
        pieces[position] = "( " * (count + 1) + WRITTEN[codes[position]]
    return " ".join(pieces)[:-2]


def evaluate(codes: bytes) -> int:
    """The value, 0-9, of an expression. Raises ExpressionError if the codes are not exactly one expression."""
    return _walk(codes)[0]


def to_source(codes: bytes) -> str:
    """The official written form: 3L - 2 tokens separated by spaces, with a parenthesis for each applied argument.

    MAX(4, 9, 5) is `( ( ( ( [MAX 4 ) 9 ) 5 ) ] )`. Raises ExpressionError if the codes are not exactly one expression.
    """
    return _to_source(codes, _walk(codes)[1])


def from_source(source: str) -> tuple[bytes, int]:
    """Codes and value of a written expression; the inverse of `to_source`.

    Raises ExpressionError for an unknown token, for unbalanced brackets, and for other parentheses than `to_source`
    writes.
    """
    tokens = source.split()
    try:
        codes = bytes([_CODES[token] for token in tokens]).translate(None, _PARENTHESES)
    except KeyError as unknown:
        raise ExpressionError(f"expected one of {' '.join(WRITTEN)} ( ), found {unknown}") from None
    value, counts = _walk(codes)
    if _to_source(codes, counts) != " ".join(tokens):
        raise ExpressionError("expected every argument to be applied by its own pair of parentheses; they do not match")
    return codes, value
