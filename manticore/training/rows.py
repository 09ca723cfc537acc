"""The examples of a batch that one process of a training has, and what all processes know of the whole batch.

Every process makes the whole batch, so that its padding and its number of scored labels cost no message, and keeps some
of the examples. What must be known of the whole batch stays an attribute of the tensor `labels`, as `batch_notes` are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from manticore.errors import ManticoreError
from manticore.tasks.dataset import Batch
from manticore.training.batch_notes import WHOLE, copy_rows, note, num_tokens, scored_labels, scored_of_examples
from manticore.training.metrics import Integers
from manticore.utils.ranks import Ranks


class WholeBatch(NamedTuple):
    """A batch of which a process has some examples.

    Attributes:
        scored_B: scored labels of each example, (B,).
        tokens: tokens of all examples, without padding.
        first: index of the first example that this process has.
    """

    scored_B: Integers
    tokens: int
    first: int


def rows_of_rank(batch: Batch, ranks: Ranks) -> Batch:
    """The examples of a batch that a process has: neighbours, as many as the others have, or one more or less.

    Raises ManticoreError for a batch without labels, and for one with fewer examples than there are processes.
    """
    if not isinstance(batch, Mapping) or "labels" not in batch:
        raise ManticoreError(
            "several processes share out the examples of a batch by its 'labels', which this one does not have; use "
            "--devices 1"
        )
    note(batch)
    count = len(batch["labels"])
    if count < ranks.count:
        raise ManticoreError(
            f"a batch of {count} sequences is too small for {ranks.count} processes; use a larger batch size, or fewer "
            "--devices"
        )
    start, stop = (index * count // ranks.count for index in (ranks.rank, ranks.rank + 1))
    rows = cut(batch, start, stop - start)
    tokens = num_tokens(batch["attention_mask"]) if "attention_mask" in batch else batch["input_ids"].numel()
    _set_whole(rows, WholeBatch(scored_of_examples(batch["labels"]), tokens, start))
    return rows


def cut(batch: Batch, start: int, size: int) -> Batch:
    """The examples `start` to `start + size` of a batch, with their notes.

    An example may have several rows of ids, as in a pair task: the batch has the first rows of all examples, then all
    second rows.
    """
    count = len(batch["labels"])
    part = {key: _rows(value, count, start, size) for key, value in batch.items()}
    copy_rows(batch, part, count, start, size)
    return part


def _rows(value: Tensor, count: int, start: int, size: int) -> Tensor:
    """The rows of examples `start` to `start + size` of `count`."""
    if len(value) == count:
        return value[start : start + size]
    return torch.cat([rows[start : start + size] for rows in value.split(count)])


def first_examples(batch: Batch, size: int) -> Batch:
    """Of the first `size` examples of the whole batch that have a scored label, those that this process has.

    The batch is searched in steps of `size` examples.
    """
    whole = whole_batch(batch)
    scored_B, first = (scored_of_examples(batch["labels"]), 0) if whole is None else (whole.scored_B, whole.first)
    start = next((start for start in range(0, len(scored_B), size) if scored_B[start : start + size].any()), 0)
    low = min(max(start - first, 0), len(batch["labels"]))
    high = min(max(start + size - first, low), len(batch["labels"]))
    part = cut(batch, low, high - low)
    if whole is not None:
        _set_whole(part, WholeBatch(scored_B[start : start + size], 0, low + first - start))
    return part


def whole_batch(batch: Any) -> WholeBatch | None:
    """What is known of the whole batch; None if this is the whole."""
    labels = batch.get("labels") if isinstance(batch, Mapping) else None
    return getattr(labels, WHOLE, None)


def own_share(batch: Any) -> float:
    """The share of the scored labels of the whole batch that this process has."""
    whole = whole_batch(batch)
    return 1.0 if whole is None else scored_labels(batch["labels"]) / max(1, int(whole.scored_B.sum()))


def num_examples(batch: Batch) -> int:
    """Number of examples of the whole batch."""
    whole = whole_batch(batch)
    return len(batch["labels"]) if whole is None else len(whole.scored_B)


def own_examples(batch: Batch, values_B: Tensor) -> Tensor:
    """Of one value for each example of the whole batch, those of the examples that this process has."""
    whole = whole_batch(batch)
    return values_B if whole is None else values_B[whole.first : whole.first + len(batch["labels"])]


def _set_whole(rows: Batch, whole: WholeBatch) -> None:
    setattr(rows["labels"], WHOLE, whole)
