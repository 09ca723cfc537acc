"""Blocks of text in a parent's tokens, to cache and to measure on.

Notation: N blocks of L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from manticore.alignment.calibration import split_passages
from manticore.components import Component
from manticore.components.context_length import check_context_length, component_context_length
from manticore.errors import ManticoreError

CHARS_PER_TOKEN = 8
"""Characters of a passage for each of its tokens."""

LEAST_BLOCKS = 16
"""Smallest number of blocks."""

HELD_OUT_EVERY = 8
"""One of this number of blocks is measured on, up to `MOST_HELD_OUT`."""

MOST_HELD_OUT = 16


@dataclass(frozen=True)
class Blocks:
    """Blocks of text without padding.

    Attributes:
        ids_NL: token ids (N, L); the last `held_out` blocks are measured on.
        held_out: number of these.
    """

    ids_NL: Tensor
    held_out: int

    @property
    def tokens(self) -> int:
        """Number of tokens to learn from."""
        return (len(self.ids_NL) - self.held_out) * self.ids_NL.shape[1]


def text_blocks(component: Component, texts: Sequence[str], tokens: int, length: int) -> Blocks:
    """Cut texts into blocks, evenly spread over them.

    Args:
        component: the parent, whose tokenizer is used.
        texts: documents.
        tokens: tokens to learn from; fewer if the documents have fewer.
        length: tokens of a block.

    Raises ManticoreError if the component has no tokenizer or a shorter context, or the documents give fewer than
    `LEAST_BLOCKS` blocks.
    """
    if component.tokenizer is None:
        raise ManticoreError(f"'{component.name}' has no tokenizer beside its weights; grow reads text")
    limits = {component.name: component_context_length(component)}
    check_context_length(limits, length, "a block", "use --length {limit} or less")
    needed = max(LEAST_BLOCKS, -(-tokens // length))
    needed += min(MOST_HELD_OUT, max(2, needed // (HELD_OUT_EVERY - 1)))
    rows = _rows(component.tokenizer, texts, needed, length)
    if len(rows) < LEAST_BLOCKS:
        have, need = len(rows) * length, LEAST_BLOCKS * length
        raise ManticoreError(
            f"the text has {have:,} tokens in blocks of {length}, and a twin needs {need:,} at least: give more text, "
            "or a smaller --length"
        )
    held_out = min(MOST_HELD_OUT, len(rows) // HELD_OUT_EVERY)
    chosen = {number * len(rows) // held_out for number in range(held_out)}
    order = [*(row for row in range(len(rows)) if row not in chosen), *sorted(chosen)]
    return Blocks(torch.tensor([rows[row] for row in order]), held_out)


def _rows(tokenizer: Any, texts: Sequence[str], needed: int, length: int) -> list[list[int]]:
    """At most `needed` blocks. A passage that is shorter than a block is joined with the next one."""
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    best: list[list[int]] = []
    for share in (1, 4, 16):  # of short documents, more passages are needed
        rows: list[list[int]] = []
        buffer: list[int] = []
        for passage in split_passages(texts, needed * share, length * CHARS_PER_TOKEN):
            ids = tokenizer(passage, add_special_tokens=False, verbose=False)["input_ids"]
            buffer += [*ids[:length], *(end if len(ids) < length else [])]
            if len(buffer) >= length:
                rows.append(buffer[:length])
                buffer = []
        best = max(best, rows, key=len)
        if len(best) >= needed:
            break
    return [best[number * len(best) // needed] for number in range(needed)] if len(best) > needed else best
