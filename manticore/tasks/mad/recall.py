"""MAD's in-context recall, with noise or without: the value of a key is what it was earlier in the sequence.

Token ids: keys, values, noise. Without `multi_query` the last id is a prefix that announces the one key that counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from manticore.tasks.dataset import IGNORE
from manticore.tasks.mad.puzzle import Puzzle, Whole, first_places


@dataclass(frozen=True)
class Recall(Puzzle):
    """T / 2 - 1 pairs of a key and its value, noise between them, then the pair of a key that was shown.

    A key is uniform, its value uniform when it first comes up and the same from then on. A test asks for the values of
    keys that were shown before (all of them, or the last alone).

    Attributes:
        multi_query: whether every key that comes up again is asked for.
        noise_vocab_size: how many of the ids are noise.
        frac_noise: share of pairs that are two tokens of noise; at least one pair is not.
    """

    multi_query: bool = True
    noise_vocab_size: int = 0
    frac_noise: float = 0.0

    next_token: ClassVar[bool] = True

    def check(self) -> None:
        self.demand(self.seq_len % 2 == 0 and self.seq_len >= 4, "an even seq_len of at least 4")
        self.demand(self.noise_vocab_size >= 0, "noise_vocab_size of at least 0")
        self.demand(0 <= self.frac_noise < 1, "frac_noise of at least 0 and below 1")
        self.demand(self.noise_vocab_size > 0 or self.frac_noise == 0, "noise_vocab_size above 0 where there is noise")
        self.demand(self.keys >= 1, "vocab_size that leaves a key and a value beside noise and prefix")

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

    def draw(self, rng: np.random.Generator, count: int, training: bool) -> Whole:
        shape = (count, self.seq_len // 2 - 1)
        noise_NP = self._noise(rng, shape)
        key_NP = rng.integers(self.keys, size=shape)
        first_NP = first_places(np.where(noise_NP, _alone(shape), key_NP))
        value_NP = np.take_along_axis(rng.integers(self.keys, self.symbols, size=shape), first_NP, axis=1)
        pair_NP2 = np.stack([key_NP, value_NP], axis=-1)
        if self.frac_noise:
            heard = (self.symbols, self.symbols + self.noise_vocab_size)
            pair_NP2 = np.where(noise_NP[..., None], rng.integers(*heard, size=(*shape, 2)), pair_NP2)
        shown_NP = ~noise_NP & (first_NP == np.arange(shape[1]))
        probe_N = (rng.random(shape) * shown_NP).argmax(axis=1)
        prefix_N1 = np.full((count, int(not self.multi_query)), self.vocab_size - 1)
        return np.concatenate([pair_NP2.reshape(count, -1), prefix_N1, pair_NP2[np.arange(count), probe_N]], axis=1)

    def _noise(self, rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.bool_]:
        """(N, P) which pairs are noise: not the one at a place drawn from T / 2, and not all.

        Where the place drawn is that of the last pair and every other pair is noise, no key is left to ask for (MAD's
        own generator fails there); one pair of such a sequence is kept.
        """
        noise_NP = rng.random(shape) < self.frac_noise
        spared_N, kept_N = rng.integers(shape[1] + 1, size=shape[0]), rng.integers(shape[1], size=shape[0])
        noise_NP &= np.arange(shape[1]) != spared_N[:, None]
        noise_NP &= ~noise_NP.all(axis=1, keepdims=True) | (np.arange(shape[1]) != kept_N[:, None])
        return noise_NP

    def asked(self, whole_NS: Whole) -> Whole:
        target_NS = np.full_like(whole_NS, IGNORE)
        target_NS[:, -1] = whole_NS[:, -1]
        if self.multi_query:
            key_NP, value_NP = whole_NS[:, ::2], whole_NS[:, 1::2]
            first_NP = first_places(np.where(key_NP < self.keys, key_NP, _alone(key_NP.shape)))
            again_NP = first_NP != np.arange(key_NP.shape[1])
            again_NP[:, -1] = True
            target_NS[:, 1::2] = np.where(again_NP, value_NP, IGNORE)
        return target_NS


def _alone(shape: tuple[int, ...]) -> Whole:
    """(N, P) numbers below 0, no two of a row alike: what stands for noise where keys are compared."""
    return np.broadcast_to(-1 - np.arange(shape[1]), shape)
