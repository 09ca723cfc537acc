"""Labelled token sequences in flat arrays, the four splits of a task, and their batches.

A sequence has one label, or one label for each token; the label `IGNORE` marks tokens that are not scored.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from manticore.errors import ManticoreError

if TYPE_CHECKING:
    import torch

log = logging.getLogger("manticore.tasks")

IGNORE = -100

HASH_BLOCK = 1 << 16
"""Number of tokens that are copied at once to be hashed: large enough to be fast, small compared with data sets."""

Label = int | NDArray[np.int64]
Example = tuple[NDArray[np.int64], Label]

Batch: TypeAlias = "dict[str, torch.Tensor]"
"""Tensors by name: `input_ids` and `attention_mask` (B, L), `labels` (B,) or (B, L); a user's data may have others."""


@dataclass(frozen=True, eq=False)
class Examples(Sequence[Example]):
    """N labelled sequences in three flat arrays; a map-style dataset for PyTorch's loaders.

    Attributes:
        flat: (sum of lengths,) token ids of all sequences, concatenated, in any unsigned integer type.
        offsets: (N + 1,) index in `flat` of the first token of each sequence, and the end.
        labels: (N,) class indices, or (sum of lengths,) one label for each token of `flat`. (The two shapes are the
            same where each sequence has one token.)
        num_bytes: (N,) bytes of text that the labels of each sequence stand for; None for other data than text.
        groups: (N,) number of the document that each sequence belongs to; None for data without documents.

    Raises ManticoreError if `labels` has neither of the two lengths.
    """

    flat: NDArray[np.unsignedinteger]
    offsets: NDArray[np.int64]
    labels: NDArray[np.signedinteger[Any]]
    num_bytes: NDArray[np.int64] | None = None
    groups: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        if len(self.labels) not in (len(self), len(self.flat)):
            raise ManticoreError(
                f"{len(self.labels)} labels for {len(self)} examples of {len(self.flat)} tokens: "
                "expected one for each example, or one for each token"
            )

    @classmethod
    def pack(cls, examples: Iterable[tuple[Sequence[int], int | Sequence[int]]]) -> Examples:
        """Examples from pairs of (ids, label), or of (ids, one label for each id); ids must be in 0..65535."""
        sequences, labels = zip(*examples, strict=True) if (examples := list(examples)) else ((), ())
        lengths = [len(sequence) for sequence in sequences]
        flat = np.fromiter((token for sequence in sequences for token in sequence), np.uint16, count=sum(lengths))
        flat_labels = np.hstack(labels) if labels else np.zeros(0)
        return cls(flat, np.cumsum([0, *lengths], dtype=np.int64), flat_labels.astype(np.int64))

    @classmethod
    def from_arrays(cls, ids_NL: NDArray[np.unsignedinteger], labels_NL: NDArray[np.signedinteger[Any]]) -> Examples:
        """N examples of one length L with a label for each token."""
        count, length = ids_NL.shape
        return cls(ids_NL.reshape(-1), length * np.arange(count + 1, dtype=np.int64), labels_NL.reshape(-1))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> Example:  # type: ignore[override]
        """The ids (L,) int64 of example `index`, and its label, or its labels (L,) int64."""
        index = range(len(self))[index]
        span = self._span(index)
        labels = self.labels[span].astype(np.int64) if self.per_token else int(self.labels[index])
        return self.flat[span].astype(np.int64), labels

    def _span(self, index: int) -> slice:
        """The tokens of an example in `flat`."""
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
        spans = [self._span(index) for index in chosen]
        flat, offsets = _gather(self.flat, spans), np.cumsum([0, *self.lengths[chosen]], dtype=np.int64)
        labels = _gather(self.labels, spans) if self.per_token else self.labels[chosen]
        optional = (None if array is None else array[chosen] for array in (self.num_bytes, self.groups))
        return Examples(flat, offsets, labels, *optional)

    def fingerprints(self) -> list[bytes]:
        """A 16-byte hash of each input, which depends on its ids alone, not on labels and integer type."""
        return [
            hashlib.blake2b(flat[start:end], digest_size=16).digest()
            for flat, ends in self._blocks()
            for start, end in pairwise(ends)
        ]

    def _blocks(self) -> Iterator[tuple[memoryview, list[int]]]:
        """Runs of sequences with about `HASH_BLOCK` tokens: their bytes, 4 a token, and where each sequence starts."""
        start = 0
        while start < len(self):
            full = int(self.offsets.searchsorted(self.offsets[start] + HASH_BLOCK, side="right")) - 1
            stop = max(start + 1, full)
            ends = self.offsets[start : stop + 1]
            yield self.flat[ends[0] : ends[-1]].astype("<u4").view(np.uint8).data, (4 * (ends - ends[0])).tolist()
            start = stop


def _gather(array: NDArray[Any], spans: Sequence[slice]) -> NDArray[Any]:
    return np.concatenate([array[span] for span in spans]) if spans else array[:0]


def concat(datasets: Sequence[Examples]) -> Examples:
    """The examples of several datasets as one dataset."""
    if len(datasets) == 1:
        return datasets[0]
    starts = np.cumsum([0, *(len(dataset.flat) for dataset in datasets)])
    offsets = [dataset.offsets[:-1] + start for dataset, start in zip(datasets, starts, strict=False)]
    return Examples(
        np.concatenate([dataset.flat for dataset in datasets]),
        np.concatenate([*offsets, starts[-1:]]),
        np.concatenate([dataset.labels for dataset in datasets]),
        *_concat_documents(datasets),
    )


def _concat_documents(datasets: Sequence[Examples]) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
    """`num_bytes` and `groups` of several datasets; the same number in two datasets means two documents."""
    pairs = [
        (data.num_bytes, data.groups) for data in datasets if data.num_bytes is not None and data.groups is not None
    ]
    if len(pairs) < len(datasets):
        return None, None
    firsts = np.cumsum([0, *(int(groups.max()) + 1 for _, groups in pairs)])
    groups = [groups + first for (_, groups), first in zip(pairs, firsts, strict=False)]
    return np.concatenate([num_bytes for num_bytes, _ in pairs]), np.concatenate(groups)


def pad_batch(batch: Sequence[Example], pad: int, per_token: bool) -> dict[str, torch.Tensor]:
    """A batch of examples, padded on the right to its longest sequence.

    Args:
        batch: B examples.
        pad: id of the padding.
        per_token: whether each token has a label.

    Returns:
        `input_ids` and `attention_mask`, (B, L) int64, and `labels`, int64: (B,), or (B, L) if `per_token`, `IGNORE`
        at the padding.
    """
    import torch  # here, so that tasks can be listed without torch

    longest = max(len(ids) for ids, _ in batch)
    input_ids = torch.full((len(batch), longest), pad, dtype=torch.int64)
    attention_mask = torch.zeros_like(input_ids)
    for row, (ids, _) in enumerate(batch):
        input_ids[row, : len(ids)] = torch.from_numpy(ids)
        attention_mask[row, : len(ids)] = 1
    if per_token:
        labels = torch.full_like(input_ids, IGNORE)
        for row, (ids, label) in enumerate(batch):
            labels[row, : len(ids)] = torch.as_tensor(label)
    else:
        labels = torch.tensor([label for _, label in batch], dtype=torch.int64)
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


@dataclass(frozen=True)
class Splits:
    """The four splits of a task, those of a bilevel search.

    Attributes:
        train: network weights are trained on it.
        train_arch: architecture weights are trained on it.
        val: validation split; models and paths are selected on it.
        test: evaluated once, at the end.
    """

    train: Examples
    train_arch: Examples
    val: Examples
    test: Examples


def check_disjoint(splits: Splits) -> None:
    """Raises ManticoreError if two splits share an input; names the first two, and the number of shared inputs."""
    inputs = {field.name: set(getattr(splits, field.name).fingerprints()) for field in fields(splits)}
    for first, second in combinations(inputs, 2):
        shared = len(inputs[first] & inputs[second])
        if shared:
            raise ManticoreError(
                f"splits '{first}' and '{second}' share {shared} examples; they must be disjoint by content"
            )


def halves(train: Examples, seed: int) -> tuple[Examples, Examples]:
    """The splits `train` and `train_arch`: two random halves, which depend on the seed and the number of examples.

    The first half has the odd example. Raises ManticoreError if there are fewer than two examples.
    """
    if len(train) < 2:
        raise ManticoreError(f"train needs at least 2 examples to be split into train and train_arch, got {len(train)}")
    order = np.random.default_rng(seed).permutation(len(train))
    middle = (len(train) + 1) // 2
    return train.take(order[:middle]), train.take(order[middle:])


def drop_duplicates(source: str, train: Examples, val: Examples, test: Examples) -> tuple[Examples, Examples]:
    """Train and validation examples without duplicates and without examples of test (and, for train, of validation).

    The number of dropped examples is logged with the name `source`. Raises ManticoreError if a split becomes empty.
    """
    seen = set(test.fingerprints())
    val = drop_seen(seen, f"{source} examples", "val", val)
    return drop_seen(seen, f"{source} examples", "train", train), val


def drop_seen(seen: set[bytes], source: str, split: str, examples: Examples) -> Examples:
    """The examples whose input is not in `seen`, each once; their fingerprints are added to `seen`.

    The number of dropped examples is logged with the name `source`. Raises ManticoreError if none is left.
    """
    kept = []
    for index, fingerprint in enumerate(examples.fingerprints()):
        if fingerprint not in seen:
            seen.add(fingerprint)
            kept.append(index)
    dropped = len(examples) - len(kept)
    if not kept:
        raise ManticoreError(f"all {dropped} {source} of {split} also occur in the splits it must not overlap")
    if dropped:
        log.warning("dropped %d of %d %s from %s: duplicates", dropped, len(examples), source, split)
    return examples.take(kept) if dropped else examples
