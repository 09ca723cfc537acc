"""MAD's fuzzy recall: keys and values are runs of tokens, and the value of a whole run is recalled.

Token ids: keys, values, padding (on the left, where the pairs do not fill the sequence). Without `multi_query` the last
id is a prefix, which announces the one query.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from manticore.tasks.dataset import IGNORE
from manticore.tasks.mad.puzzle import Ids, Puzzle, first_positions


@dataclass(frozen=True)
class Fuzzy(Puzzle):
    """Pairs of a key's and its value's tokens, one of them the probe, then the probe again.

    A motif is an ordered tuple of distinct tokens: its size is uniform, then the tuple is uniform among those of its
    size. Keys of a test have the greatest size. The probe is inserted at a random token, if the pairs before it reach
    that token; therefore 2.3 % of the tests of MAD's baseline ask for a key that did not occur.

    Attributes:
        multi_query: whether the value of every key that occurs again is a target.
        k_motif_size: largest number of tokens of a key.
        v_motif_size: largest number of tokens of a value.
    """

    multi_query: bool = True
    k_motif_size: int = 3
    v_motif_size: int = 3

    next_token: ClassVar[bool] = True

    def check(self) -> None:
        self.require(self.k_motif_size >= 1 and self.v_motif_size >= 1, "k_motif_size and v_motif_size of at least 1")
        self.require(self.seq_len > 2 * self._longest, "seq_len above 2 * (k_motif_size + v_motif_size)")
        self.require(self.k_motif_size <= self.keys, "vocab_size with enough tokens for a key of k_motif_size")
        self.require(self.v_motif_size <= self.symbols - self.keys, "vocab_size with enough tokens for a value")
        self.require((self.keys + 1) ** self.k_motif_size < 2**62, "fewer keys: a smaller k_motif_size or vocab_size")

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
        """Most tokens of a pair."""
        return self.k_motif_size + self.v_motif_size

    def draw(self, rng: np.random.Generator, count: int, training: bool) -> Ids:
        # Column 0 is the probe. The other columns are pairs, more than there is room for; those that fit are kept.
        shape = (count, 1 + self.seq_len // 2)
        key_NPM, key_size_NP = motifs(rng, shape, self.keys, 1 if training else self.k_motif_size, self.k_motif_size)
        value_NPM, value_size_NP = motifs(rng, shape, self.symbols - self.keys, 1, self.v_motif_size)
        code_NP = self._codes(key_NPM, key_size_NP)
        # Every pair takes the value of the first pair with the same key.
        first_NP = first_positions(code_NP)
        value_NPM = np.take_along_axis(value_NPM, first_NP[..., None], axis=1) + self.keys
        value_size_NP = np.take_along_axis(value_size_NP, first_NP, axis=1)
        token_NPM = np.concatenate([key_NPM, value_NPM], axis=-1)
        used_NPM = np.concatenate([_in_motif(key_size_NP, key_NPM), _in_motif(value_size_NP, value_NPM)], axis=-1)
        order_NP, kept_NP = self._order(rng, code_NP, key_size_NP + value_size_NP)
        used_NPM = np.take_along_axis(used_NPM, order_NP[..., None], axis=1) & kept_NP[..., None]
        token_NPM = np.take_along_axis(token_NPM, order_NP[..., None], axis=1)
        return self._flatten(token_NPM, used_NPM)

    def _codes(self, key_NPM: Ids, size_NP: Ids) -> Ids:
        """(N, P) a number for each key, equal for equal keys: its tokens + 1 as digits in base keys + 1."""
        digit_NPM = np.where(_in_motif(size_NP, key_NPM), key_NPM + 1, 0)
        return np.asarray((digit_NPM * (self.keys + 1) ** np.arange(self.k_motif_size)).sum(axis=-1))

    def _order(self, rng: np.random.Generator, code_NP: Ids, size_NP: Ids) -> tuple[Ids, NDArray[np.bool_]]:
        """The column at each position, ending with the probe again, and whether the position is kept, both (N, P).

        The probe is inserted before the first pair (number `due`) that starts at or after a random token, unless its
        key occurred before: columns 1, .., due, 0, due + 1, .. or else 1, 2, .. . A position is kept if the longest
        pair still fits there before the final probe.
        """
        probe_size_N1 = size_NP[:, :1]
        position_P = np.arange(size_NP.shape[1] - 1)
        token_N1 = rng.integers(self.seq_len - 2 * probe_size_N1)
        due_N1 = (_starts(size_NP[:, 1:]) >= token_N1).argmax(axis=1)[:, None]
        shown_N1 = ((code_NP[:, 1:] == code_NP[:, :1]) & (position_P < due_N1)).any(axis=1, keepdims=True)
        shift_NP = np.where(shown_N1, 1, 1 - (position_P > due_N1))
        order_NP = np.where(~shown_N1 & (position_P == due_N1), 0, position_P + shift_NP)
        start_NP = _starts(np.take_along_axis(size_NP, order_NP, axis=1))
        kept_NP = start_NP < self.seq_len - probe_size_N1 - self._longest
        last_N1 = np.zeros_like(probe_size_N1)
        return np.concatenate([order_NP, last_N1], axis=1), np.concatenate([kept_NP, last_N1 == 0], axis=1)

    def _flatten(self, token_NPM: Ids, used_NPM: NDArray[np.bool_]) -> Ids:
        """(N, S) the used tokens in a row, padded on the left; the prefix, if there is one, is before the last pair."""
        count, longest = len(token_NPM), token_NPM.shape[-1]
        token_NX, used_NX = token_NPM.reshape(count, -1), used_NPM.reshape(count, -1)
        if not self.multi_query:
            token_NX = np.insert(token_NX, -longest, self.vocab_size - 1, axis=1)
            used_NX = np.insert(used_NX, -longest, True, axis=1)
        full_NS = np.full((count, self.tokens), self.symbols)
        full_NS[np.arange(self.tokens) >= self.tokens - used_NX.sum(axis=1, keepdims=True)] = token_NX[used_NX]
        return full_NS

    def test_targets(self, full_NS: Ids) -> Ids:
        # Pairs are read back from the tokens: a key token after another kind of token begins a pair.
        key_NS, value_NS = full_NS < self.keys, (full_NS >= self.keys) & (full_NS < self.symbols)
        begin_NS = key_NS & ~np.pad(key_NS, ((0, 0), (1, 0)))[:, :-1]
        pair_NS = np.cumsum(begin_NS, axis=1)  # number of the token's pair; 0 before the first pair
        last_N1 = pair_NS[:, -1:]
        if not self.multi_query:
            return np.where(value_NS & (pair_NS == last_N1), full_NS, IGNORE)
        # The code of each pair's key, as in `_codes`: the sum of its tokens' digits.
        position_S = np.arange(self.tokens)
        digit_NS = position_S - np.maximum.accumulate(np.where(begin_NS, position_S, 0), axis=1)
        term_NS = (full_NS + 1) * (self.keys + 1) ** np.minimum(digit_NS, self.k_motif_size - 1)
        row_N1 = np.arange(len(full_NS))[:, None]
        code_NP = np.zeros((len(full_NS), self.tokens + 1), dtype=np.int64)
        np.add.at(code_NP, (row_N1, pair_NS), np.where(key_NS, term_NS, 0))
        repeated_NP = first_positions(code_NP) != np.arange(self.tokens + 1)
        repeated_NP[row_N1, last_N1] = True
        return np.where(value_NS & repeated_NP[row_N1, pair_NS], full_NS, IGNORE)


def motifs(rng: np.random.Generator, shape: tuple[int, int], symbols: int, least: int, most: int) -> tuple[Ids, Ids]:
    """Random tuples of distinct tokens.

    Returns: tokens 0..symbols - 1, (N, P, most), and sizes from `least` to `most`, (N, P). The first `size` tokens of
    each are a uniform tuple of that size.
    """
    token_NPM = np.empty((*shape, most), dtype=np.int64)
    for index in range(most):
        # Uniform among the symbols that are left: skip those taken before, in increasing order.
        token_NP = rng.integers(symbols - index, size=shape)
        for taken_NP in np.moveaxis(np.sort(token_NPM[..., :index], axis=-1), -1, 0):
            token_NP += token_NP >= taken_NP
        token_NPM[..., index] = token_NP
    return token_NPM, rng.integers(least, most + 1, size=shape)


def _in_motif(size_NP: Ids, token_NPM: Ids) -> NDArray[np.bool_]:
    """(N, P, M) whether each token belongs to its motif, whose size is `size_NP`."""
    return np.arange(token_NPM.shape[-1]) < size_NP[..., None]


def _starts(size_NP: Ids) -> Ids:
    """(N, P) the first token of each pair, if the pairs follow one another."""
    return np.cumsum(size_NP, axis=1) - size_NP
