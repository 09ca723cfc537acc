"""MAD's memorization: the value of a key is a fact that no input contains, the same in training and in tests.

Token ids: keys, values, then the query token, at which a value is to be predicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np

from manticore.tasks.dataset import IGNORE
from manticore.tasks.mad.puzzle import Ids, Puzzle


@dataclass(frozen=True)
class Memorization(Puzzle):
    """T / 2 uniform keys, each followed by the query token, whose target is the value of the key.

    Attributes:
        map_seed: seed of the values of the keys; the benchmark has 12345.
    """

    map_seed: int = 12345

    remark: ClassVar[str] = "; the facts are the same in every split, the sequences are not"

    def check(self) -> None:
        self.require(self.seq_len % 2 == 0, "an even seq_len")
        self.require(self.vocab_size >= 3, "vocab_size of at least 3")
        self.require(self.map_seed >= 0, "map_seed of at least 0")

    @property
    def tokens(self) -> int:
        return self.seq_len

    @cached_property
    def facts(self) -> Ids:
        """(keys,) the value of each key: keys, then values, are shuffled with one generator and paired."""
        symbols, rng = self.vocab_size - 1, np.random.default_rng(self.map_seed)
        keys, values = list(range(symbols // 2)), list(range(symbols // 2, symbols))
        for ids in (keys, values):
            rng.shuffle(ids)
        facts = np.empty(len(keys), dtype=np.int64)
        facts[keys] = values[: len(keys)]
        return facts

    def draw(self, rng: np.random.Generator, count: int, training: bool) -> Ids:
        full_NS = np.full((count, self.seq_len), self.vocab_size - 1)
        full_NS[:, ::2] = rng.integers(len(self.facts), size=(count, self.seq_len // 2))
        return full_NS

    def test_targets(self, full_NS: Ids) -> Ids:
        key_NP, target_NS = full_NS[:, ::2], np.full_like(full_NS, IGNORE)
        value_NP = self.facts[np.minimum(key_NP, len(self.facts) - 1)]
        target_NS[:, 1::2] = np.where(key_NP < len(self.facts), value_NP, IGNORE)
        return target_NS
