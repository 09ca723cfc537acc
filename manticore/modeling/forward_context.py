"""The context of a forward pass: checked masks, positions and caches that every branch receives."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .cache import HybridCache
from .masking import build_position_ids, check_mask, has_interior_padding, has_padding
from .segments import Context


def build_context(
    input_ids: Tensor,
    attention_mask: Tensor | None,
    position_ids: Tensor | None,
    cache: HybridCache | None,
    tables: dict[str, Any],
    windowed: bool,
) -> Context:
    """The context of new tokens (B, L) that follow those in the cache. Records in the cache whether it has padding.

    Args:
        input_ids, attention_mask, position_ids, cache: as in `HybridModel.forward`.
        tables: by component, the embedding of its absolute positions.
        windowed: whether some layer has a sliding window.

    Raises ValueError as described in `HybridModel.forward`.
    """
    HybridCache.checked(cache)
    past = 0 if cache is None else cache.get_seq_length()
    rows, length = input_ids.shape
    check_mask(attention_mask, rows, past + length)
    if attention_mask is None and cache is not None and cache.padded:
        raise ValueError("this cache contains padding; pass the attention_mask of past and new tokens")
    interior = has_interior_padding(attention_mask, past, cached=cache is not None)
    if interior and windowed:
        raise ValueError("padding between tokens would count in this hybrid's sliding windows; pad on the left")
    if position_ids is None:
        position_ids = build_position_ids(attention_mask, past, length, input_ids.device)
    for name, table in tables.items():
        if past + length > table.num_embeddings <= int(position_ids.max()):
            raise ValueError(f"{past + length} tokens are more than the {table.num_embeddings} positions of '{name}'")
    positions = {name: table(position_ids) for name, table in tables.items()}
    if cache is None:
        return Context(attention_mask, position_ids, positions, stepwise=interior)
    padded = has_padding(attention_mask, past)
    cache.padded |= padded
    # Left padding of a first chunk is masked inside the scan. After a state exists, or for a single decoded token,
    # a padded row must keep its state, so recurrent segments step over the padding.
    stepwise = interior or (padded and (past > 0 or length == 1))
    return Context(attention_mask, position_ids, positions, cache.stages, stepwise)


def reject_kwargs(kwargs: dict[str, Any], *names: str) -> None:
    """Raises ValueError if one of the outputs `names` is requested, which hybrids do not have."""
    for name in names:
        if kwargs.get(name):
            raise ValueError(f"a hybrid does not support {name}")
