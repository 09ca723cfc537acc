"""Batches as a function of seed and step, which makes resuming exact.

The batch at step n depends on the seed and on n only, so a run that is resumed at step n sees the same batches as one
that was never stopped. Sequences of similar length share a batch, which saves padding. The order of batches is shuffled
in every epoch.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import MethodType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from manticore.errors import ManticoreError
from manticore.tasks.dataset import Batch, Example, Examples
from manticore.tasks.task import Task
from manticore.training.batch_notes import copy_notes, note, num_tokens, scored_labels
from manticore.training.rows import cut, own_share, rows_of_rank, whole_batch
from manticore.utils.ranks import ALONE, Ranks

Collate = Callable[[Sequence[Example]], Batch]

AHEAD = 2
"""Number of steps whose batches are made before they are read."""

POOL_BATCHES = 32
"""Number of batches whose examples are sorted by length together."""


def batch_to(batch: Batch, device: torch.device | str) -> Batch:
    """The batch on a device."""
    return {name: tensor.to(device) for name, tensor in batch.items()}


def count_tokens(batch: Any) -> int:
    """Tokens of the whole batch without padding; without an `attention_mask` all of the first tensor of integers."""
    if (whole := whole_batch(batch)) is not None:
        return whole.tokens
    if isinstance(batch, Mapping) and "attention_mask" in batch:
        return num_tokens(batch["attention_mask"])
    values = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, list | tuple) else [batch]
    integers = (v for v in values if isinstance(v, Tensor) and not v.is_floating_point() and not v.is_complex())
    return next((value.numel() for value in integers), 0)


def micro_batches(batch: Batch, size: int) -> Iterator[tuple[Batch, float]]:
    """Split the examples that a process has into micro-batches of at most `size` examples (0: one micro-batch).

    Yields each micro-batch with its share of the scored labels of the whole batch; micro-batches without a scored label
    are skipped. A batch of a user's own, without `labels`, stays whole.

    Raises ManticoreError if a batch without `labels` is to be split.
    """
    if not isinstance(batch, Mapping) or "labels" not in batch:
        if size:
            raise ManticoreError("micro_batch_size splits batches that are mappings with 'labels'; use smaller batches")
        yield batch, 1.0
        return
    count, scored = len(batch["labels"]), scored_labels(batch["labels"])
    share = own_share(batch)
    if not size or size >= count:
        if scored:
            yield batch, share
        return
    for start in range(0, count, size):
        part = cut(batch, start, size)
        if part_scored := scored_labels(part["labels"]):
            yield part, share * part_scored / scored


class BatchSampler:
    """An endless sequence of batches, indexed by step.

    Args:
        examples: each is used once in every epoch, except those of a last, incomplete batch.
        batch_size: examples in a batch; all of them if there are fewer.
        seed: seed of the shuffling.
        collate: function from a list of examples to a batch.
    """

    def __init__(self, examples: Examples, batch_size: int, seed: int, collate: Collate) -> None:
        self.examples = examples
        self.batch_size = min(batch_size, len(examples))
        self.per_epoch = len(examples) // self.batch_size
        self.seed = seed
        self.collate = collate
        self._orders: dict[int, NDArray[np.int64]] = {}

    def __getstate__(self) -> dict[str, Any]:
        """The state for another process, which gets the examples, but not those of other splits of the task."""
        owner, state = getattr(self.collate, "__self__", None), {**vars(self), "_orders": {}}
        if isinstance(owner, Task):
            state["collate"] = MethodType(self.collate.__func__, owner.without_examples())  # type: ignore[attr-defined]
        return state

    def _epoch_order(self, epoch: int) -> NDArray[np.int64]:
        """Indices of the examples in each batch of an epoch, (batches, batch_size); the last two are kept."""
        if epoch not in self._orders:
            self._orders = {**dict([*self._orders.items()][-1:]), epoch: self._shuffle(epoch)}
        return self._orders[epoch]

    def _shuffle(self, epoch: int) -> NDArray[np.int64]:
        rng = np.random.default_rng([self.seed, epoch])
        order = rng.permutation(len(self.examples))[: self.per_epoch * self.batch_size]
        lengths, pool_size = self.examples.lengths, POOL_BATCHES * self.batch_size
        pools = np.split(order, range(pool_size, len(order), pool_size))
        # Examples are sorted within pools, not globally, so that batches differ from epoch to epoch.
        order = np.concatenate([pool[np.argsort(lengths[pool], kind="stable")] for pool in pools])
        batches = order.reshape(self.per_epoch, self.batch_size)
        return batches[rng.permutation(self.per_epoch)]

    def batch(self, step: int) -> Batch:
        """The batch at `step`, counted from 0."""
        epoch, index = divmod(step, self.per_epoch)
        return self.collate([self.examples[int(example)] for example in self._epoch_order(epoch)[index]])


class StepDataLoader:
    """The trainer's data loader: yields one batch of every stream at each step, until `steps` are done.

    The next `AHEAD` steps are made in a thread while a step runs, with their notes (`batch_notes`), and for a GPU in
    pinned memory, from which copies do not stop the host. The state of the loader, the number of steps that were read,
    is part of Lightning's checkpoints.

    Args:
        streams: batches by name, as the strategy of a search names them.
        steps: number of steps.
        pin: pin the memory of batches.
        ranks: the processes that train together; each gets some of the examples of every batch.
    """

    def __init__(
        self, streams: Mapping[str, BatchSampler], steps: int, pin: bool = False, ranks: Ranks = ALONE
    ) -> None:
        self.streams = dict(streams)
        self.steps = steps
        self.pin = pin
        self.ranks = ranks
        self.step = 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[dict[str, Batch]]:
        with ThreadPoolExecutor(1, thread_name_prefix="manticore-batches") as pool:
            first = self.step
            ahead = deque(pool.submit(self._batches, step) for step in range(first, min(first + AHEAD, self.steps)))
            try:
                while ahead:
                    batches = ahead.popleft().result()
                    if (step := self.step + AHEAD) < self.steps:
                        ahead.append(pool.submit(self._batches, step))
                    self.step += 1
                    yield batches
            finally:
                pool.shutdown(wait=False, cancel_futures=True)
        self.step = 0

    def _batches(self, step: int) -> dict[str, Batch]:
        """The batches of a step, counted from 0."""
        batches = {name: sampler.batch(step) for name, sampler in self.streams.items()}
        if self.ranks.count > 1:
            batches = {name: rows_of_rank(batch, self.ranks) for name, batch in batches.items()}
        note(batches)
        if not self.pin:
            return batches
        pinned = {name: {key: value.pin_memory() for key, value in b.items()} for name, b in batches.items()}
        copy_notes(batches, pinned)
        return pinned

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
