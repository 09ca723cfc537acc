"""Labelled token sequences, packed, and the four parts they come in. Knows nothing of what tokens and labels mean.

A sequence has one label, or one for each of its tokens; `IGNORE` stands where a token has nothing to be scored.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import combinations, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manticore.errors import ManticoreError

log = logging.getLogger("manticore.tasks")

IGNORE = -100

BLOCK = 1 << 16
"""Tokens that are hashed from one copy: enough to lose no time between copies, and few beside any data set."""

Label = int | NDArray[np.int64]
Example = tuple[NDArray[np.int64], Label]


@dataclass(frozen=True, eq=False)
class Examples(Sequence[Example]):
    """N labelled sequences in three flat arrays; a map-style dataset as PyTorch's loaders take it.

    Attributes:
        flat: (sum of lengths,) token ids of all sequences, one after another, in any unsigned integer type.
        offsets: (N + 1,) where each sequence starts in `flat`, and the end.
        labels: (N,) class indices, or (sum of lengths,) one for each token of `flat`. (Where no sequence has more than
            one token, that is the same.)
        sizes: (N,) bytes of text that each sequence's labels stand for, where they stand for text.
        groups: (N,) numbers of the documents the sequences are from, where there are documents.

    Raises ManticoreError if there are neither so many labels nor so many.
    """

    flat: NDArray[np.unsignedinteger]
    offsets: NDArray[np.int64]
    labels: NDArray[np.signedinteger[Any]]
    sizes: NDArray[np.int64] | None = None
    groups: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if len(self.labels) not in (len(self), len(self.flat)):
            raise ManticoreError(
                f"{len(self.labels)} labels for {len(self)} examples of {len(self.flat)} tokens: "
                "expected one for each example, or one for each token"
            )

    @classmethod
    def pack(cls, examples: Iterable[tuple[Sequence[int], int | Sequence[int]]]) -> Examples:
        """Examples from pairs of (ids, label), or of (ids, label of each token); ids must lie in 0..65535."""
        sequences, labels = zip(*examples, strict=True) if (examples := list(examples)) else ((), ())
        lengths = [len(sequence) for sequence in sequences]
        flat = np.fromiter((token for sequence in sequences for token in sequence), np.uint16, count=sum(lengths))
        held = np.hstack(labels) if labels else np.zeros(0)
        return cls(flat, np.cumsum([0, *lengths], dtype=np.int64), held.astype(np.int64))

    @classmethod
    def grid(cls, ids_NL: NDArray[np.unsignedinteger], labels_NL: NDArray[np.signedinteger[Any]]) -> Examples:
        """N examples of one length with a label for each token."""
        count, length = ids_NL.shape
        return cls(ids_NL.reshape(-1), length * np.arange(count + 1, dtype=np.int64), labels_NL.reshape(-1))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]
        """The ids (L,) int64 of example `index`, and its label or labels (L,) int64."""
        index = range(len(self))[index]
        place = self._place(index)
        labels = self.labels[place].astype(np.int64) if self.per_token else int(self.labels[index])
        return self.flat[place].astype(np.int64), labels

    def _place(self, index: int) -> slice:
        return slice(self.offsets[index], self.offsets[index + 1])

    @property
    def per_token(self) -> bool:
        """Whether each token has a label."""
        return len(self.labels) != len(self)

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
        places = [self._place(index) for index in chosen]
        flat, offsets = _joined(self.flat, places), np.cumsum([0, *self.lengths[chosen]], dtype=np.int64)
        labels = _joined(self.labels, places) if self.per_token else self.labels[chosen]
        more = (None if held is None else held[chosen] for held in (self.sizes, self.groups))
        return Examples(flat, offsets, labels, *more)

    def fingerprints(self) -> list[bytes]:
        """A 16-byte hash of each input; equal for equal ids, whatever the label."""
        return [
            hashlib.blake2b(flat[start:end], digest_size=16).digest()
            for flat, ends in self._blocks()
            for start, end in pairwise(ends)
        ]

    def _blocks(self) -> Iterator[tuple[memoryview, list[int]]]:
        """All sequences in runs of about `BLOCK` tokens: the bytes of one, four a token, and where each starts."""
        start = 0
        while start < len(self):
            full = int(self.offsets.searchsorted(self.offsets[start] + BLOCK, side="right")) - 1
            stop = max(start + 1, full)
            ends = self.offsets[start : stop + 1]
            yield self.flat[ends[0] : ends[-1]].astype("<u4").view(np.uint8).data, (4 * (ends - ends[0])).tolist()
            start = stop


def _joined(array: NDArray[Any], places: Sequence[slice]) -> NDArray[Any]:
    return np.concatenate([array[place] for place in places]) if places else array[:0]


@dataclass(frozen=True)
class Splits:
    """The four parts of a task.

    Attributes:
        weights: what network weights learn from.
        alphas: what architecture weights learn from.
        choice: what models and paths are chosen on.
        test: read once, at the very end.
    """

    train: Examples
    train_arch: Examples
    val: Examples
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


def drop_repeated(what: str, train: Examples, val: Examples, test: Examples) -> tuple[Examples, Examples]:
    """Train and val with each example once and none that a part farther from training has; test stays as it is.

    What is dropped is noted under the name `what`. Raises ManticoreError if nothing is left.
    """
    held = set(test.fingerprints())
    val = drop_matching(held, f"{what} examples", "val", val)
    return drop_matching(held, f"{what} examples", "train", train), val


def drop_matching(held: set[bytes], what: str, part: str, examples: Examples) -> Examples:
    """The examples whose input is not in `held`, each once; `held` grows by them.

    What is dropped is noted under the name `what`. Raises ManticoreError if nothing is left.
    """
    kept = []
    for index, fingerprint in enumerate(examples.fingerprints()):
        if fingerprint not in held:
            held.add(fingerprint)
            kept.append(index)
    dropped = len(examples) - len(kept)
    if not kept:
        raise ManticoreError(f"all {dropped} {what} of {part} also occur in the parts it must not touch")
    if dropped:
        log.warning("dropped %d of %d %s from %s: they occur twice", dropped, len(examples), what, part)
    return examples.take(kept) if dropped else examples


def concat(parts: Sequence[Examples]) -> Examples:
    """Several sets of examples as one."""
    if len(parts) == 1:
        return parts[0]
    ends = np.cumsum([0, *(len(part.flat) for part in parts)])
    offsets = [part.offsets[:-1] + start for part, start in zip(parts, ends, strict=False)]
    return Examples(
        np.concatenate([part.flat for part in parts]),
        np.concatenate([*offsets, ends[-1:]]),
        np.concatenate([part.labels for part in parts]),
        *_documents(parts),
    )


def _documents(parts: Sequence[Examples]) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
    """Bytes and documents of several sets of chunks, in which equal numbers mean different documents."""
    held = [(part.sizes, part.groups) for part in parts if part.sizes is not None and part.groups is not None]
    if len(held) < len(parts):
        return None, None
    firsts = np.cumsum([0, *(int(groups.max()) + 1 for _, groups in held)])
    groups = [groups + start for (_, groups), start in zip(held, firsts, strict=False)]
    return np.concatenate([sizes for sizes, _ in held]), np.concatenate(groups)
