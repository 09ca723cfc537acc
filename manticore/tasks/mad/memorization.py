"""MAD's memorization: the value of a key is a fact that no input tells, the same in training and in tests.

Token ids: keys, values, then the token that stands where a value is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from manticore.tasks.dataset import IGNORE
from manticore.tasks.mad.puzzle import Puzzle, Whole


@dataclass(frozen=True)
class Memorization(Puzzle):
    """T / 2 uniform keys, each followed by a place for its value.

    Attributes:
        map_seed: decides which value a key has; 12345 is the benchmark's.
    """

    map_seed: int = 12345

    remark: ClassVar[str] = "; the facts are the same in every split, the sequences are not"

    def check(self) -> None:
        self.demand(self.seq_len % 2 == 0, "an even seq_len")
        self.demand(self.vocab_size >= 3, "vocab_size of at least 3")
        self.demand(self.map_seed >= 0, "map_seed of at least 0")

    @property
    def tokens(self) -> int:
        return self.seq_len

    @cached_property
    def facts(self) -> Whole:
        """(keys,) the value of each key: keys and values shuffled one after the other, then paired."""
        symbols, rng = self.vocab_size - 1, np.random.default_rng(self.map_seed)
        keys, values = list(range(symbols // 2)), list(range(symbols // 2, symbols))
        for held in (keys, values):
            rng.shuffle(held)
        facts = np.empty(len(keys), dtype=np.int64)
        facts[keys] = values[: len(keys)]
        return facts

    def draw(self, rng: np.random.Generator, count: int, training: bool) -> Whole:
        whole_NS = np.full((count, self.seq_len), self.vocab_size - 1)
        whole_NS[:, ::2] = rng.integers(len(self.facts), size=(count, self.seq_len // 2))
        return whole_NS

    def asked(self, whole_NS: Whole) -> Whole:
        key_NP, target_NS = whole_NS[:, ::2], np.full_like(whole_NS, IGNORE)
        known_NP = self.facts[np.minimum(key_NP, len(self.facts) - 1)]
        target_NS[:, 1::2] = np.where(key_NP < len(self.facts), known_NP, IGNORE)
        return target_NS
