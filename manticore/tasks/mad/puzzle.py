"""What the MAD tasks have in common: settings that draw sequences, and targets that follow from the sequences.

Poli et al., "Mechanistic Design and Scaling of Hybrid Architectures" (arXiv 2403.17844). A puzzle knows its whole
sequences, N of S tokens, and what a test asks of each of their tokens. Where it is about the next token, a model sees
all but the last token and learns every next one, not only those that a test asks for. Knows no particular puzzle.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from manticore.errors import ManticoreError, UnknownName
from manticore.tasks.info import written

Whole = NDArray[np.int64]

MOST_IDS = 2**15


@dataclass(frozen=True)
class Puzzle(ABC):
    """The settings of a puzzle, by the names the MAD benchmark gives them.

    Attributes:
        vocab_size: number of token ids V, the special ones included.
        seq_len: tokens in a sequence T, as the benchmark counts them.
        train: number of training examples.
        kind: which kind of `Task` it is.
        next_token: whether targets are shifted by one token.
        remark: what one should know about its splits.
    """

    vocab_size: int
    seq_len: int
    train: int

    kind: ClassVar[str] = "tokens"
    next_token: ClassVar[bool] = False
    remark: ClassVar[str] = ""

    def __post_init__(self) -> None:
        self.demand(2 <= self.vocab_size <= MOST_IDS, f"vocab_size of 2 to {MOST_IDS}")
        self.demand(self.seq_len >= 2, "seq_len of at least 2")
        self.demand(self.train >= 2, "train of at least 2")
        self.check()

    @abstractmethod
    def check(self) -> None:
        """Raises ManticoreError if the settings do not fit together."""

    @property
    @abstractmethod
    def tokens(self) -> int:
        """Tokens S of a whole sequence."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, count: int, training: bool) -> Whole:
        """`count` whole sequences (N, S), for training or for a test."""

    @abstractmethod
    def asked(self, whole_NS: Whole) -> Whole:
        """What a test asks: for each token (N, S) the target told there, or told before it if `next_token`."""

    @property
    def length(self) -> int:
        """Tokens L of an input."""
        return self.tokens - self.next_token

    def pose(self, whole_NS: Whole, training: bool) -> tuple[Whole, Whole]:
        """Inputs and targets (N, L) of whole sequences."""
        if not self.next_token:
            return whole_NS, self.asked(whole_NS)
        return whole_NS[:, :-1], (whole_NS if training else self.asked(whole_NS))[:, 1:]

    def whole(self, inputs_NL: Whole, targets_NL: Whole) -> Whole:
        """The whole sequences (N, S) that were posed so."""
        return np.concatenate([inputs_NL, targets_NL[:, -1:]], axis=1) if self.next_token else inputs_NL

    def demand(self, holds: bool, words: str) -> None:
        """Raises ManticoreError, with the settings, unless what the words demand `holds`."""
        if not holds:
            raise ManticoreError(f"this MAD task needs {words}, got {told(asdict(self))}")

    def reset(self, words: Mapping[str, str], owner: str) -> Self:
        """This puzzle with settings as a user writes them. Raises ManticoreError that names the task `owner`."""
        return replace(self, **{key: self._read(key, word, owner) for key, word in words.items()})

    def _read(self, key: str, word: str, owner: str) -> Any:
        held = asdict(self)
        if key not in held:
            raise UnknownName(f"setting of {owner}", key, held)
        kind = type(held[key])
        try:
            return _BOOLEANS[word.lower()] if kind is bool else kind(word)
        except (ValueError, KeyError):
            raise ManticoreError(f"setting '{key}' of {owner} must be {_KINDS[kind]}, got '{word}'") from None


_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_KINDS = {bool: "true or false", int: "a whole number", float: "a number"}


def told(settings: Mapping[str, Any]) -> str:
    """Settings as a user writes them: `seq_len=256,multi_query=false`."""
    return ",".join(f"{key}={written(value)}" for key, value in settings.items())


def first_places(code_NP: Whole) -> Whole:
    """(N, P) for each number of a row the place where the row has it first."""
    order = np.argsort(code_NP, axis=1, kind="stable")
    ordered = np.take_along_axis(code_NP, order, axis=1)
    fresh = np.ones(code_NP.shape, dtype=bool)
    fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    start = np.maximum.accumulate(np.where(fresh, np.arange(code_NP.shape[1]), 0), axis=1)
    firsts = np.empty_like(order)
    np.put_along_axis(firsts, order, np.take_along_axis(order, start, axis=1), axis=1)
    return firsts
