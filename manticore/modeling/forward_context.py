"""What surrounds a forward pass, made from what a caller gave; what cannot be run is refused here. Knows no layers."""

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
    """The context of new tokens (B, L) after what is in the cache; the cache is told whether it holds padding.

    Args:
        input_ids, attention_mask, position_ids, cache: as in `HybridModel.forward`.
        tables: by component, the embedding of its absolute positions.
        windowed: some layer has a sliding window.

    Raises ValueError as `HybridModel.forward` says.
    """
    if not isinstance(cache, HybridCache | None):
        raise ValueError(f"a hybrid remembers in a HybridCache (model.new_cache()), not in a {type(cache).__name__}")
    past = 0 if cache is None else cache.get_seq_length()
    rows, length = input_ids.shape
    check_mask(attention_mask, rows, past + length)
    if attention_mask is None and cache is not None and cache.padded:
        raise ValueError("this cache holds padding; give the attention_mask of past and new tokens")
    interrupted = has_interior_padding(attention_mask, past, cache is not None)
    if interrupted and windowed:
        raise ValueError("padding between tokens would count in this hybrid's sliding windows; pad on the left")
    padded = has_padding(attention_mask, past)
    if position_ids is None:
        position_ids = build_position_ids(attention_mask, past, length, input_ids.device)
    for name, table in tables.items():
        if past + length > table.num_embeddings <= int(position_ids.max()):
            raise ValueError(f"{past + length} tokens are more than the {table.num_embeddings} positions of '{name}'")
    positions = {name: table(position_ids) for name, table in tables.items()}
    if cache is None:
        return Context(attention_mask, position_ids, positions, stepwise=interrupted)
    cache.padded |= padded
    stepwise = interrupted or (padded and (past > 0 or length == 1))
    return Context(attention_mask, position_ids, positions, cache.stages, stepwise)


def reject_kwargs(given: dict[str, Any], *names: str) -> None:
    """Raises ValueError if something is asked for that a hybrid does not tell."""
    for name in names:
        if given.get(name):
            raise ValueError(f"a hybrid does not support {name}")
