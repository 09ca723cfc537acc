"""A stage in which every sequence of a batch runs its own candidate: sequences of the same candidate run together.

Notation: B batch, L length.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from manticore.modeling.segments import Context


def run_grouped(choices_B: Tensor, run: Callable[[int, Tensor | None], Tensor]) -> Tensor:
    """The outputs of all sequences, (B, ...), with one call for every candidate that is chosen.

    Args:
        choices_B: index of the candidate of each sequence, (B,).
        run: from the index of a candidate, and the indices of its sequences or None for all, to their outputs.
    """
    chosen = choices_B.unique().tolist()
    if len(chosen) == 1:
        return run(chosen[0], None)
    groups = [(choices_B == index).nonzero().squeeze(1) for index in chosen]
    outputs = [run(index, rows) for index, rows in zip(chosen, groups, strict=True)]
    return torch.cat(outputs).index_select(0, torch.cat(groups).argsort())


def context_of_rows(context: Context, rows: Tensor | None) -> Context:
    """The context of some sequences of the batch. What all sequences share has one row and stays as it is."""
    if rows is None:
        return context
    mask = context.attention_mask
    return Context(
        None if mask is None else mask.index_select(0, rows),
        rows_of(context.position_ids, rows),
        {name: rows_of(table, rows) for name, table in context.positions.items()},
        stepwise=context.stepwise,
    )


def rows_of(value: Tensor, rows: Tensor | None) -> Tensor:
    """Some rows of a tensor with one for each sequence; all for None, and a single row for all sequences."""
    return value if rows is None or len(value) == 1 else value.index_select(0, rows)
