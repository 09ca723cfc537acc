"""Labelled token sequences, packed, and the four parts they come in. Knows nothing of what tokens and labels mean."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from manticore.errors import ManticoreError

Example = tuple[NDArray[np.int64], int]


@dataclass(frozen=True, eq=False)
class Examples(Sequence[Example]):
    """N labelled sequences in three flat arrays; a map-style dataset as PyTorch's loaders take it.

    Attributes:
        flat: (sum of lengths,) token ids of all sequences, one after another, in any unsigned integer type.
        offsets: (N + 1,) where each sequence starts in `flat`, and the end.
        labels: (N,) class indices.
    """

    flat: NDArray[np.unsignedinteger]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]

    @classmethod
    def pack(cls, examples: Iterable[tuple[Sequence[int], int]]) -> Examples:
        """Examples from pairs of (ids, label); ids must lie in 0..65535."""
        sequences, labels = zip(*examples, strict=True) if (examples := list(examples)) else ((), ())
        lengths = [len(sequence) for sequence in sequences]
        flat = np.fromiter((token for sequence in sequences for token in sequence), np.uint16, count=sum(lengths))
        return cls(flat, np.cumsum([0, *lengths], dtype=np.int64), np.array(labels, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]
        """The ids (L,) int64 and the label of example `index`."""
        index = range(len(self))[index]
        return self._slice(index).astype(np.int64), int(self.labels[index])

    def _slice(self, index: int) -> NDArray[np.unsignedinteger]:
        return self.flat[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(N,) number of tokens of each sequence."""
        return np.diff(self.offsets)

    @property
    def first_tokens(self) -> NDArray[np.int64]:
        """(N,) id of each sequence's first token."""
        return self.flat[self.offsets[:-1]].astype(np.int64)

    def take(self, indices: Iterable[int]) -> Examples:
        """The examples at `indices`, in that order."""
        chosen = np.fromiter(indices, np.int64)
        parts = [self._slice(index) for index in chosen]
        flat = np.concatenate(parts) if parts else self.flat[:0]
        return Examples(flat, np.cumsum([0, *self.lengths[chosen]], dtype=np.int64), self.labels[chosen])

    def fingerprints(self) -> list[bytes]:
        """A 16-byte hash of each input; equal for equal ids, whatever the label."""
        flat = self.flat.astype("<u4").tobytes()
        ends = (4 * self.offsets).tolist()
        return [hashlib.blake2b(flat[start:end], digest_size=16).digest() for start, end in pairwise(ends)]


@dataclass(frozen=True)
class Splits:
    """The four parts of a task.

    Attributes:
        weights: what network weights learn from.
        alphas: what architecture weights learn from.
        choice: what models and paths are chosen on.
        test: read once, at the very end.
    """

    weights: Examples
    alphas: Examples
    choice: Examples
    test: Examples


def check_disjoint(splits: Splits) -> None:
    """Raises ManticoreError naming the first two splits that share an input, and how many examples they share."""
    prints = {field.name: set(getattr(splits, field.name).fingerprints()) for field in fields(splits)}
    for one, other in combinations(prints, 2):
        shared = len(prints[one] & prints[other])
        if shared:
            raise ManticoreError(
                f"splits '{one}' and '{other}' share {shared} examples; they must be disjoint by content"
            )


def halves(train: Examples, seed: int) -> tuple[Examples, Examples]:
    """`train` divided into weights and alphas by a shuffle that looks at the seed and the size only.

    The weights get the odd one. Raises ManticoreError if there are fewer than two examples.
    """
    if len(train) < 2:
        raise ManticoreError(f"train needs at least 2 examples to be divided into weights and alphas, got {len(train)}")
    order = np.random.default_rng(seed).permutation(len(train))
    middle = (len(train) + 1) // 2
    return train.take(order[:middle]), train.take(order[middle:])
