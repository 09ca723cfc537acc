"""MAD's in-context recall, with or without noise: the value of a key is the one it had earlier in the sequence.

Token ids: keys, values, noise. Without `multi_query` the last id is a prefix, which announces the one query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from manticore.tasks.dataset import IGNORE
from manticore.tasks.mad.puzzle import Ids, Puzzle, first_positions


@dataclass(frozen=True)
class Recall(Puzzle):
    """T / 2 - 1 pairs of a key and its value, some replaced by noise, then the pair of a key that occurred before.

    Keys are uniform. The value of a key is uniform at its first occurrence and the same from then on. Test targets are
    the values of keys that occurred before: all of them, or the last one alone.

    Attributes:
        multi_query: whether the value of every key that occurs again is a target.
        noise_vocab_size: number of ids that are noise.
        frac_noise: share of pairs that are replaced by two tokens of noise; at least one pair is not.
    """

    multi_query: bool = True
    noise_vocab_size: int = 0
    frac_noise: float = 0.0

    next_token: ClassVar[bool] = True

    def check(self) -> None:
        self.require(self.seq_len % 2 == 0 and self.seq_len >= 4, "an even seq_len of at least 4")
        self.require(self.noise_vocab_size >= 0, "noise_vocab_size of at least 0")
        self.require(0 <= self.frac_noise < 1, "frac_noise of at least 0 and below 1")
        self.require(self.noise_vocab_size > 0 or self.frac_noise == 0, "noise_vocab_size above 0 if frac_noise is")
        self.require(self.keys >= 1, "vocab_size that leaves a key and a value besides noise and prefix")

    @property
    def symbols(self) -> int:
        """Number of ids that are keys or values."""
        return self.vocab_size - (not self.multi_query) - self.noise_vocab_size

    @property
    def keys(self) -> int:
        """Number of keys; their ids come first."""
        return self.symbols // 2

    @property
    def tokens(self) -> int:
        return self.seq_len + (not self.multi_query)

    def draw(self, rng: np.random.Generator, count: int, training: bool) -> Ids:
        shape = (count, self.seq_len // 2 - 1)
        noise_NP = self._noise(rng, shape)
        key_NP = rng.integers(self.keys, size=shape)
        # Every pair takes the value that was drawn at the first occurrence of its key outside noise.
        first_NP = first_positions(np.where(noise_NP, _distinct_negatives(shape), key_NP))
        value_NP = np.take_along_axis(rng.integers(self.keys, self.symbols, size=shape), first_NP, axis=1)
        pair_NP2 = np.stack([key_NP, value_NP], axis=-1)
        if self.frac_noise:
            noise_ids = (self.symbols, self.symbols + self.noise_vocab_size)
            pair_NP2 = np.where(noise_NP[..., None], rng.integers(*noise_ids, size=(*shape, 2)), pair_NP2)
        # The probe is uniform among the distinct keys: the largest of random numbers at their first occurrences.
        shown_NP = ~noise_NP & (first_NP == np.arange(shape[1]))
        probe_N = (rng.random(shape) * shown_NP).argmax(axis=1)
        prefix_N1 = np.full((count, int(not self.multi_query)), self.vocab_size - 1)
        return np.concatenate([pair_NP2.reshape(count, -1), prefix_N1, pair_NP2[np.arange(count), probe_N]], axis=1)

    def _noise(self, rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """(N, P) whether each pair is noise; the pair at a position drawn from 0..P is not, nor are all pairs of a row.

        If the drawn position is P, behind the last pair, and all pairs are noise, no key is left to ask for (MAD's own
        generator fails then); one pair of such a sequence is kept.
        """
        noise_NP = rng.random(shape) < self.frac_noise
        spared_N, kept_N = rng.integers(shape[1] + 1, size=shape[0]), rng.integers(shape[1], size=shape[0])
        noise_NP &= np.arange(shape[1]) != spared_N[:, None]
        noise_NP &= ~noise_NP.all(axis=1, keepdims=True) | (np.arange(shape[1]) != kept_N[:, None])
        return noise_NP

    def test_targets(self, full_NS: Ids) -> Ids:
        target_NS = np.full_like(full_NS, IGNORE)
        target_NS[:, -1] = full_NS[:, -1]
        if self.multi_query:
            key_NP, value_NP = full_NS[:, ::2], full_NS[:, 1::2]
            first_NP = first_positions(np.where(key_NP < self.keys, key_NP, _distinct_negatives(key_NP.shape)))
            repeated_NP = first_NP != np.arange(key_NP.shape[1])
            repeated_NP[:, -1] = True
            target_NS[:, 1::2] = np.where(repeated_NP, value_NP, IGNORE)
        return target_NS


def _distinct_negatives(shape: tuple[int, ...]) -> Ids:
    """(N, P) distinct negative numbers in each row, which stand for noise where keys are compared."""
    return np.broadcast_to(-1 - np.arange(shape[1]), shape)
