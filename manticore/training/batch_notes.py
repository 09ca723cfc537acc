"""Numbers that depend on a batch alone, noted on its tensors before it goes to the device.

The shares of micro-batches, the tokens of a batch and where its padding is are needed as Python numbers in every step.
To read them from a tensor on a GPU stops the host until the GPU has done all work before it. Batches are made on the
CPU, so the numbers are computed there, for every row, and stay attributes of the tensors `labels` and `attention_mask`.
A batch without notes, such as one of a user's strategy, is read instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from manticore.modeling.masking import NO_PADDING, OTHER_PADDING, RIGHT_PADDING, note_padding
from manticore.tasks.dataset import IGNORE, Batch
from manticore.training.metrics import Integers

SCORED, TOKENS, RIGHT, WHOLE = "noted_scored", "noted_tokens", "noted_right", "noted_whole"
"""Attributes: of labels the scored labels of each example and, with several processes, the whole batch (`rows`); of a
mask the tokens of each row, and whether all its padding is on the right."""


def note(batch: Any) -> None:
    """Note the numbers of a batch, or of each batch of several streams. Batches on a GPU are left without notes."""
    if not isinstance(batch, Mapping):
        return
    for name, value in batch.items():
        if isinstance(value, Mapping):
            note(value)
        elif name == "labels" and _is_readable(value) and value.dim() and not hasattr(value, SCORED):
            setattr(value, SCORED, _count(value.flatten(1) != IGNORE if value.dim() > 1 else value != IGNORE))
        elif name == "attention_mask" and _is_readable(value) and value.dim() == 2 and not hasattr(value, TOKENS):
            _note_mask(value)


def is_on_cpu(batch: Any) -> bool:
    """Whether a batch, or each batch of several streams, consists of tensors on the CPU."""
    if isinstance(batch, Tensor):
        return batch.is_cpu
    return isinstance(batch, Mapping) and all(map(is_on_cpu, batch.values()))


def copy_notes(source: Any, target: Any) -> None:
    """Copy the notes of a batch to the same batch on a device."""
    if not isinstance(source, Mapping) or not isinstance(target, Mapping):
        return
    for name, value in source.items():
        if isinstance(value, Mapping):
            copy_notes(value, target.get(name))
        elif name == "labels" and hasattr(value, SCORED):
            for attribute in (SCORED, WHOLE):
                if hasattr(value, attribute):
                    setattr(target[name], attribute, getattr(value, attribute))
        elif name == "attention_mask" and hasattr(value, TOKENS):
            _set_mask(target[name], getattr(value, TOKENS), getattr(value, RIGHT))


def copy_rows(source: Batch, target: Batch, count: int, start: int, size: int) -> None:
    """Copy the notes of some examples: `target` has the examples `start` to `start + size` of `count` in `source`."""
    labels, mask = source.get("labels"), source.get("attention_mask")
    if labels is not None and hasattr(labels, SCORED):
        setattr(target["labels"], SCORED, getattr(labels, SCORED)[start : start + size])
    if mask is not None and hasattr(mask, TOKENS) and len(mask) % count == 0:
        rows = np.arange(len(mask)).reshape(-1, count)[:, start : start + size].ravel()
        _set_mask(target["attention_mask"], getattr(mask, TOKENS)[rows], getattr(mask, RIGHT)[rows])


def scored_labels(labels: Tensor) -> int:
    """Scored labels of a batch; read from the tensor if they are not noted."""
    noted: Integers | None = getattr(labels, SCORED, None)
    return int((labels != IGNORE).sum()) if noted is None else int(noted.sum())


def scored_of_examples(labels: Tensor) -> Integers:
    """Scored labels of each example, (B,); read from the tensor if they are not noted."""
    noted: Integers | None = getattr(labels, SCORED, None)
    return (
        _count((labels != IGNORE).flatten(1).cpu() if labels.dim() > 1 else (labels != IGNORE).cpu())
        if noted is None
        else noted
    )


def num_tokens(attention_mask: Tensor) -> int:
    """Tokens of a mask; read from the tensor if they are not noted."""
    noted: Integers | None = getattr(attention_mask, TOKENS, None)
    return int(attention_mask.sum()) if noted is None else int(noted.sum())


def _is_readable(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type == "cpu"


def _count(is_true: Tensor) -> Integers:
    """The number of True in each row, (N,)."""
    array: NDArray[np.bool_] = is_true.numpy()
    counts: Integers = array.reshape(len(array), -1).sum(1, dtype=np.int64)
    return counts


def _note_mask(mask: Tensor) -> None:
    token_BL: NDArray[np.bool_] = mask.to(torch.bool).numpy()
    tokens_B = token_BL.sum(1, dtype=np.int64)
    end_B = token_BL.shape[1] - token_BL[:, ::-1].argmax(1)  # behind the last token
    _set_mask(mask, tokens_B, (tokens_B == 0) | (tokens_B == end_B))


def _set_mask(mask: Tensor, tokens_B: Integers, right_B: NDArray[np.bool_]) -> None:
    setattr(mask, TOKENS, tokens_B)
    setattr(mask, RIGHT, right_B)
    full = bool((tokens_B == mask.shape[1]).all())
    note_padding(mask, NO_PADDING if full else RIGHT_PADDING if right_B.all() else OTHER_PADDING)
