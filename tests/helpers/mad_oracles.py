"""Solvers of the MAD tasks that follow the definitions, token by token.

Each returns, for each token of one input, the target that follows from the input; None where no target follows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from manticore.tasks.mad.compression import Compression
from manticore.tasks.mad.copying import Copying
from manticore.tasks.mad.fuzzy import Fuzzy
from manticore.tasks.mad.memorization import Memorization
from manticore.tasks.mad.puzzle import Puzzle
from manticore.tasks.mad.recall import Recall

Answers = list[int | None]


def recall(puzzle: Recall, ids: Sequence[int]) -> Answers:
    """The value after the last occurrence of the key."""
    symbols = puzzle.vocab_size - puzzle.noise_vocab_size - (not puzzle.multi_query)
    values: dict[int, int] = {}
    answers: Answers = []
    for before, token in zip([None, *ids], ids, strict=False):
        if before is not None and before < symbols // 2 <= token < symbols:
            values[before] = token
        answers.append(values.get(token))
    return answers


def fuzzy(puzzle: Fuzzy, ids: Sequence[int]) -> Answers:
    """The tokens of the value of the key, one by one."""
    symbols = puzzle.vocab_size - 1 - (not puzzle.multi_query)
    values: dict[tuple[int, ...], list[int]] = {}
    key: tuple[int, ...] = ()
    value: list[int] = []
    answers: Answers = []
    for token in ids:
        if token < symbols // 2:
            if value:
                values.setdefault(key, value)
                key, value = (), []
            key = (*key, token)
        elif token < symbols:
            value = [*value, token]
        known = values.get(key, [])
        answers.append(known[len(value)] if len(value) < len(known) else None)
    return answers


def copying(puzzle: Copying, ids: Sequence[int]) -> Answers:
    """The symbols in order, from the copy token on."""
    blank, copy = puzzle.vocab_size - 2, puzzle.vocab_size - 1
    symbols = [token for token in ids if token < blank]
    start = list(ids).index(copy) + 1
    return [*[None] * start, *symbols]


def compression(puzzle: Compression, ids: Sequence[int]) -> Answers:
    """The input."""
    return list(ids)


def memorization(puzzle: Memorization, ids: Sequence[int]) -> Answers:
    """The facts of the puzzle, which no input contains."""
    return [None, *(int(puzzle.facts[key]) if key < len(puzzle.facts) else None for key in ids[:-1])]


SOLVERS: dict[type[Puzzle], Callable[[Any, Sequence[int]], Answers]] = {
    Recall: recall,
    Fuzzy: fuzzy,
    Copying: copying,
    Compression: compression,
    Memorization: memorization,
}
