"""Batches as a function of (seed, step): what makes resuming exact. Knows nothing of models.

The batch at step n depends on the seed and n alone, so a run that stops at step n and goes on sees the batches it would
have seen. Sequences of like length share a batch, which saves padding; the order of batches is shuffled every epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from manticore.tasks.dataset import IGNORE, Example, Examples

Batch = dict[str, Tensor]
Collate = Callable[[Sequence[Example]], Batch]

POOL = 32
"""Batches whose examples are sorted by length together."""


def micro_batches(batch: Batch, size: int) -> Iterator[tuple[Batch, float]]:
    """Parts of a batch of at most `size` examples (0: all), each with its share of the labels that are scored.

    An example may have several rows of ids, as a pair has: first all examples' first rows, then all second ones. Parts
    in which nothing is scored are left out.
    """
    count = len(batch["labels"])
    size = size or count
    scored = int((batch["labels"] != IGNORE).sum())
    for start in range(0, count, size):
        part = {key: _rows(value, count, start, size) for key, value in batch.items()}
        share = int((part["labels"] != IGNORE).sum())
        if share:
            yield part, share / scored


def _rows(value: Tensor, count: int, start: int, size: int) -> Tensor:
    """The rows of examples `start` to `start + size` of `count`."""
    if len(value) == count:
        return value[start : start + size]
    return torch.cat([held[start : start + size] for held in value.split(count)])


class BatchSampler:
    """An endless stream of batches over some examples.

    Args:
        examples: what to draw from; every epoch uses each once (the last, incomplete batch is left out).
        batch_size: examples in a batch; fewer if there are fewer examples.
        seed: of the shuffling.
        collate: makes a batch.
    """

    def __init__(self, examples: Examples, batch_size: int, seed: int, collate: Collate) -> None:
        self.examples = examples
        self.batch_size = min(batch_size, len(examples))
        self.per_epoch = len(examples) // self.batch_size
        self.seed = seed
        self.collate = collate
        self._order = lru_cache(maxsize=2)(self._shuffled)

    def _shuffled(self, epoch: int) -> NDArray[np.int64]:
        """(batches, batch_size) indices of one epoch."""
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.examples))[: self.per_epoch * self.batch_size]
        lengths = self.examples.lengths
        pools = np.split(order, range(POOL * self.batch_size, len(order), POOL * self.batch_size))
        # Sorting within pools, not over all, keeps the batches of an epoch different from epoch to epoch.
        order = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools])
        batches = order.reshape(self.per_epoch, self.batch_size)
        return batches[rng.permutation(self.per_epoch)]

    def batch(self, step: int) -> Batch:
        """The batch at `step`, counted from 0."""
        epoch, place = divmod(step, self.per_epoch)
        return self.collate([self.examples[int(index)] for index in self._order(epoch)[place]])


class StepDataLoader:
    """What the trainer iterates over: at each step one batch of every stream, until `steps` are done.

    It carries its own cursor through Lightning's checkpoints.
    """

    def __init__(self, streams: Mapping[str, BatchSampler], steps: int) -> None:
        self.streams = dict(streams)
        self.steps = steps
        self.step = 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[dict[str, Batch]]:
        while self.step < self.steps:
            batches = {name: stream.batch(self.step) for name, stream in self.streams.items()}
            self.step += 1
            yield batches
        self.step = 0

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
