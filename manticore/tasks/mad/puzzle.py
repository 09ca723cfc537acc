"""The interface of the MAD tasks: settings, from which sequences are drawn, and targets, which follow from sequences.

Poli et al., "Mechanistic Design and Scaling of Hybrid Architectures" (arXiv 2403.17844). A puzzle has full sequences,
N of S tokens, and a test target for some of their tokens. If it predicts next tokens, a model reads all but the last
token and is trained on every next token, not only on test targets.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from manticore.errors import ManticoreError, UnknownName, shown
from manticore.tasks.options import format_settings

Ids = NDArray[np.int64]

MAX_VOCAB_SIZE = 2**15


@dataclass(frozen=True)
class Puzzle(ABC):
    """The settings of a puzzle, with the names of the MAD benchmark.

    Attributes:
        vocab_size: number of token ids V, the special ones included.
        seq_len: tokens of a sequence T, as the benchmark counts them.
        train: number of training examples.
        kind: `Task.kind` of the puzzle.
        next_token: whether targets are shifted by one token.
        remark: a note on its splits.
    """

    vocab_size: int
    seq_len: int
    train: int

    kind: ClassVar[str] = "tokens"
    next_token: ClassVar[bool] = False
    remark: ClassVar[str] = ""

    def __post_init__(self) -> None:
        self.require(2 <= self.vocab_size <= MAX_VOCAB_SIZE, f"vocab_size of 2 to {MAX_VOCAB_SIZE}")
        self.require(self.seq_len >= 2, "seq_len of at least 2")
        self.require(self.train >= 2, "train of at least 2")
        self.check()

    @abstractmethod
    def check(self) -> None:
        """Raises ManticoreError if the settings contradict each other."""

    @property
    @abstractmethod
    def tokens(self) -> int:
        """Tokens S of a full sequence."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, count: int, training: bool) -> Ids:
        """`count` random full sequences (N, S), for training or for a test."""

    @abstractmethod
    def test_targets(self, full_NS: Ids) -> Ids:
        """The test target at each token (N, S), or `IGNORE`; if `next_token`, it is predicted one token earlier."""

    def shorter(self) -> Self:
        """The same puzzle with about half as many tokens. Raises ManticoreError if the settings do not allow it."""
        return replace(self, seq_len=self.seq_len // 4 * 2)

    @property
    def length(self) -> int:
        """Tokens L of an input."""
        return self.tokens - self.next_token

    def inputs_and_targets(self, full_NS: Ids, training: bool) -> tuple[Ids, Ids]:
        """Inputs and targets (N, L) of full sequences, for training or for a test."""
        if not self.next_token:
            return full_NS, self.test_targets(full_NS)
        return full_NS[:, :-1], (full_NS if training else self.test_targets(full_NS))[:, 1:]

    def full_sequences(self, inputs_NL: Ids, targets_NL: Ids) -> Ids:
        """The full sequences (N, S) of inputs and targets; the inverse of `inputs_and_targets`."""
        return np.concatenate([inputs_NL, targets_NL[:, -1:]], axis=1) if self.next_token else inputs_NL

    def require(self, condition: bool, requirement: str) -> None:
        """Raises ManticoreError, with the requirement and the settings, unless `condition` is true."""
        if not condition:
            raise ManticoreError(f"this MAD task needs {requirement}, got {format_settings(asdict(self))}")

    def with_settings(self, settings: Mapping[str, str], task: str) -> Self:
        """This puzzle with settings that are given as text. Raises ManticoreError, with the name of the task."""
        return replace(self, **{key: self._parse(key, text, task) for key, text in settings.items()})

    def _parse(self, key: str, text: str, task: str) -> Any:
        known = asdict(self)
        if key not in known:
            raise UnknownName(f"setting of {task}", key, known)
        kind = type(known[key])
        try:
            return _BOOLEANS[text.lower()] if kind is bool else kind(text)
        except (ValueError, KeyError):
            raise ManticoreError(f"setting '{key}' of {task} must be {_KINDS[kind]}, got {shown(text)}") from None


_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_KINDS = {bool: "true or false", int: "a whole number", float: "a number"}


def first_positions(code_NP: Ids) -> Ids:
    """(N, P) for each entry, the first position in its row that has the same number."""
    # Sort each row stably, so that equal numbers form runs that begin with their first position.
    order = np.argsort(code_NP, axis=1, kind="stable")
    ordered = np.take_along_axis(code_NP, order, axis=1)
    starts_run = np.ones(code_NP.shape, dtype=bool)
    starts_run[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    run_start = np.maximum.accumulate(np.where(starts_run, np.arange(code_NP.shape[1]), 0), axis=1)
    first_NP = np.empty_like(order)
    np.put_along_axis(first_NP, order, np.take_along_axis(order, run_start, axis=1), axis=1)
    return first_NP
