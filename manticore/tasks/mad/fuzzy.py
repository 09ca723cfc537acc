"""MAD's fuzzy recall: keys and values are runs of tokens, and what is recalled is the value of a whole run.

Token ids: keys, values, padding (on the left, where pairs do not fill the sequence). Without `multi_query` the last id
is a prefix that announces the one key that counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from manticore.tasks.dataset import IGNORE
from manticore.tasks.mad.puzzle import Puzzle, Whole, first_places


@dataclass(frozen=True)
class Fuzzy(Puzzle):
    """Pairs of a key's and its value's tokens, among them a probe, then the probe again.

    A motif is an ordered tuple of distinct tokens: its size is uniform, then it is. Keys of a test have the largest
    size. The probe is put in at a random token, if pairs of random sizes get there in time: 2.3 % of the tests of MAD's
    baseline ask for a key that was never shown.

    Attributes:
        multi_query: whether every key that comes up again is asked for.
        k_motif_size: most tokens of a key.
        v_motif_size: most tokens of a value.
    """

    multi_query: bool = True
    k_motif_size: int = 3
    v_motif_size: int = 3

    next_token: ClassVar[bool] = True

    def check(self) -> None:
        self.demand(self.k_motif_size >= 1 and self.v_motif_size >= 1, "k_motif_size and v_motif_size of at least 1")
        self.demand(self.seq_len > 2 * self._longest, "seq_len above 2 * (k_motif_size + v_motif_size)")
        self.demand(self.k_motif_size <= self.keys, "vocab_size with enough tokens for a key of k_motif_size")
        self.demand(self.v_motif_size <= self.symbols - self.keys, "vocab_size with enough tokens for a value")
        self.demand((self.keys + 1) ** self.k_motif_size < 2**62, "fewer keys: a smaller k_motif_size or vocab_size")

    @property
    def symbols(self) -> int:
        """Number of ids that are in keys or values."""
        return self.vocab_size - 1 - (not self.multi_query)

    @property
    def keys(self) -> int:
        """Number of ids that are in keys; they come first."""
        return self.symbols // 2

    @property
    def tokens(self) -> int:
        return self.seq_len + 1

    @property
    def _longest(self) -> int:
        return self.k_motif_size + self.v_motif_size

    def draw(self, rng: np.random.Generator, count: int, training: bool) -> Whole:
        # Column 0 is the probe; the others are pairs, more than there is room for.
        shape = (count, 1 + self.seq_len // 2)
        key_NPM, key_size_NP = motifs(rng, shape, self.keys, 1 if training else self.k_motif_size, self.k_motif_size)
        value_NPM, value_size_NP = motifs(rng, shape, self.symbols - self.keys, 1, self.v_motif_size)
        code_NP = self._codes(key_NPM, key_size_NP)
        first_NP = first_places(code_NP)
        value_NPM = np.take_along_axis(value_NPM, first_NP[..., None], axis=1) + self.keys
        value_size_NP = np.take_along_axis(value_size_NP, first_NP, axis=1)
        token_NPM = np.concatenate([key_NPM, value_NPM], axis=-1)
        used_NPM = np.concatenate([_below(key_size_NP, key_NPM), _below(value_size_NP, value_NPM)], axis=-1)
        order_NP, kept_NP = self._order(rng, code_NP, key_size_NP + value_size_NP)
        used_NPM = np.take_along_axis(used_NPM, order_NP[..., None], axis=1) & kept_NP[..., None]
        token_NPM = np.take_along_axis(token_NPM, order_NP[..., None], axis=1)
        return self._line_up(token_NPM, used_NPM)

    def _codes(self, key_NPM: Whole, size_NP: Whole) -> Whole:
        """(N, P) a number for each key, equal for equal keys."""
        digit_NPM = np.where(_below(size_NP, key_NPM), key_NPM + 1, 0)
        return np.asarray((digit_NPM * (self.keys + 1) ** np.arange(self.k_motif_size)).sum(axis=-1))

    def _order(self, rng: np.random.Generator, code_NP: Whole, size_NP: Whole) -> tuple[Whole, NDArray[np.bool_]]:
        """Which pair comes at each place, the probe again at the last one; and which places are kept."""
        probe_N1 = size_NP[:, :1]
        place_P = np.arange(size_NP.shape[1] - 1)
        spot_N1 = rng.integers(self.seq_len - 2 * probe_N1)
        due_N1 = (_starts(size_NP[:, 1:]) >= spot_N1).argmax(axis=1)[:, None]
        shown_N1 = ((code_NP[:, 1:] == code_NP[:, :1]) & (place_P < due_N1)).any(axis=1, keepdims=True)
        after_NP = np.where(shown_N1, 1, 1 - (place_P > due_N1))
        order_NP = np.where(~shown_N1 & (place_P == due_N1), 0, place_P + after_NP)
        start_NP = _starts(np.take_along_axis(size_NP, order_NP, axis=1))
        kept_NP = start_NP < self.seq_len - probe_N1 - self._longest
        last_N1 = np.zeros_like(probe_N1)
        return np.concatenate([order_NP, last_N1], axis=1), np.concatenate([kept_NP, last_N1 == 0], axis=1)

    def _line_up(self, token_NPM: Whole, used_NPM: NDArray[np.bool_]) -> Whole:
        """(N, S) the used tokens in a row, padded on the left, the prefix before the last pair if there is one."""
        count, longest = len(token_NPM), token_NPM.shape[-1]
        token_NX, used_NX = token_NPM.reshape(count, -1), used_NPM.reshape(count, -1)
        if not self.multi_query:
            token_NX = np.insert(token_NX, -longest, self.vocab_size - 1, axis=1)
            used_NX = np.insert(used_NX, -longest, True, axis=1)
        whole_NS = np.full((count, self.tokens), self.symbols)
        whole_NS[np.arange(self.tokens) >= self.tokens - used_NX.sum(axis=1, keepdims=True)] = token_NX[used_NX]
        return whole_NS

    def asked(self, whole_NS: Whole) -> Whole:
        key_NS, value_NS = whole_NS < self.keys, (whole_NS >= self.keys) & (whole_NS < self.symbols)
        begin_NS = key_NS & ~np.pad(key_NS, ((0, 0), (1, 0)))[:, :-1]
        pair_NS = np.cumsum(begin_NS, axis=1)  # 0 before the first pair
        last_N1 = pair_NS[:, -1:]
        if not self.multi_query:
            return np.where(value_NS & (pair_NS == last_N1), whole_NS, IGNORE)
        place_S = np.arange(self.tokens)
        digit_NS = place_S - np.maximum.accumulate(np.where(begin_NS, place_S, 0), axis=1)
        worth_NS = (whole_NS + 1) * (self.keys + 1) ** np.minimum(digit_NS, self.k_motif_size - 1)
        row_N1 = np.arange(len(whole_NS))[:, None]
        code_NP = np.zeros((len(whole_NS), self.tokens + 1), dtype=np.int64)
        np.add.at(code_NP, (row_N1, pair_NS), np.where(key_NS, worth_NS, 0))
        again_NP = first_places(code_NP) != np.arange(self.tokens + 1)
        again_NP[row_N1, last_N1] = True
        return np.where(value_NS & again_NP[row_N1, pair_NS], whole_NS, IGNORE)


def motifs(
    rng: np.random.Generator, shape: tuple[int, int], symbols: int, least: int, most: int
) -> tuple[Whole, Whole]:
    """Tuples of distinct tokens.

    Returns: tokens 0..symbols - 1, (N, P, most), and sizes from `least` to `most`, (N, P). The first `size` tokens of
    each are a uniform tuple of that size.
    """
    token_NPM = np.empty((*shape, most), dtype=np.int64)
    for place in range(most):
        token_NP = rng.integers(symbols - place, size=shape)
        for taken_NP in np.moveaxis(np.sort(token_NPM[..., :place], axis=-1), -1, 0):
            token_NP += token_NP >= taken_NP
        token_NPM[..., place] = token_NP
    return token_NPM, rng.integers(least, most + 1, size=shape)


def _below(size_NP: Whole, token_NPM: Whole) -> NDArray[np.bool_]:
    """(N, P, M) whether a token is one of its motif's."""
    return np.arange(token_NPM.shape[-1]) < size_NP[..., None]


def _starts(size_NP: Whole) -> Whole:
    """(N, P) where each pair starts if they follow one another."""
    return np.cumsum(size_NP, axis=1) - size_NP
