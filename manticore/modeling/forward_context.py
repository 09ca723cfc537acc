"""The context of a forward pass: checked masks, positions and caches that every branch receives."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .cache import HybridCache
from .masking import build_position_ids, check_mask, has_interior_padding, has_padding
from .segments import Context


def inputs_of(input_ids: Tensor | None, inputs_embeds: Tensor | None, width: int) -> Tensor:
    """Ids (B, L) or embeddings (B, L, D): whichever is given. Raises ValueError for both, none, and another width."""
    if (input_ids is None) == (inputs_embeds is None):
        raise ValueError("a hybrid reads input_ids or inputs_embeds: pass one of them")
    if inputs_embeds is None:
        assert input_ids is not None
        return input_ids
    if inputs_embeds.dim() != 3 or inputs_embeds.shape[-1] != width:
        shape = tuple(inputs_embeds.shape)
        raise ValueError(f"inputs_embeds must be (batch, tokens, {width}), as the embedding returns them, not {shape}")
    return inputs_embeds


def build_context(
    inputs: Tensor,
    attention_mask: Tensor | None,
    position_ids: Tensor | None,
    cache: HybridCache | None,
    tables: dict[str, Any],
    windowed: bool,
) -> Context:
    """The context of new tokens (B, L) that follow those in the cache. Records in the cache whether it has padding.

    Args:
        inputs: ids (B, L) or embeddings (B, L, D).
        attention_mask, position_ids, cache: as in `HybridModel.forward`.
        tables: by component, the embedding of its absolute positions.
        windowed: whether some layer has a sliding window.

    Raises ValueError as described in `HybridModel.forward`.
    """
    HybridCache.checked(cache)
    past = 0 if cache is None else cache.get_seq_length()
    rows, length = inputs.shape[:2]
    check_mask(attention_mask, rows, past + length)
    if attention_mask is None and cache is not None and cache.padded:
        raise ValueError("this cache contains padding; pass the attention_mask of past and new tokens")
    interior = has_interior_padding(attention_mask, past, cached=cache is not None)
    if interior and windowed:
        raise ValueError("padding between tokens would count in this hybrid's sliding windows; pad on the left")
    if position_ids is None:
        position_ids = build_position_ids(attention_mask, past, length, inputs.device)
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


def reject_kwargs(kwargs: dict[str, Any], *known: str) -> None:
    """Raises ValueError for an argument that a hybrid does not have, unless it is None or False, or without effect.

    Args:
        kwargs: the arguments.
        known: names of those that the caller reads.
    """
    for name, value in kwargs.items():
        if name in known or name == "cache_position" or value is None or value is False:  # the cache has the positions
            continue
        if name == "token_type_ids" and not bool(value.any()):  # all tokens of one type, as many tokenizers return them
            continue
        raise ValueError(f"a hybrid does not support {name}")
