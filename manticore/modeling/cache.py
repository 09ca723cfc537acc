"""The memory of a hybrid while it generates: for each stage the cache its own family would make.

Attention stages hold keys and values, recurrent stages their convolution and state; none sees another's.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer


class HybridCache(Cache):
    """One `DynamicCache` for each stage that has a segment, None for skipped stages.

    Seen as a `Cache` it is the concatenation of all stages' layers, so reordering, resetting and moving work as they do
    for any Hugging Face cache.

    Args:
        stages: the caches of the stages.
        stateful: some stage is recurrent. Its state has no room for the way back.

    Attributes:
        seen: number of tokens seen so far, padding included.
        padded: some of them were padding.
    """

    def __init__(self, stages: list[DynamicCache | None], stateful: bool) -> None:
        super().__init__(layers=[layer for stage in stages if stage is not None for layer in stage.layers])
        self.stages = stages
        self.stateful = stateful
        self.seen = 0
        self.padded = False

    @property
    def is_compileable(self) -> bool:
        """False: its shapes grow, and masks are each stage's own affair (generation would else make one for all)."""
        return False

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Number of tokens seen so far, padding included."""
        return self.seen

    def reset(self) -> None:
        """Forget everything."""
        for layer in self.layers:
            if isinstance(layer, DynamicLayer):  # transformers 5.17 only zeroes keys, and keeps them
                layer.keys = layer.values = None
                layer.is_initialized = False
        super().reset()
        self.seen = 0
        self.padded = False

    def crop(self, tokens_to_remove: int) -> None:
        """Take the last tokens back: `-n` for n of them. Raises ValueError for too many, or a recurrent stage."""
        if self.stateful:
            raise ValueError("a cache with recurrent stages cannot take tokens back: their states keep no past")
        if tokens_to_remove < -self.seen:
            raise ValueError(f"a cache of {self.seen} tokens cannot take {-tokens_to_remove} back")
        super().crop(tokens_to_remove)
        self.seen = self.seen + tokens_to_remove if tokens_to_remove <= 0 else min(self.seen, tokens_to_remove)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows, in this order."""
        self.reorder_cache(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row `repeats` times."""
        self.reorder_cache(torch.arange(self.rows()).repeat_interleave(repeats))

    def rows(self) -> int:
        """Number of sequences held; 0 before any was seen."""
        held = [kept for layer in self.layers for kept in tensors_of(layer)]
        return len(held[0]) if held else 0


def tensors_of(layer: Any) -> list[Tensor]:
    """What a layer of a cache holds, rows first: keys and values, or convolution and state."""
    kept = [getattr(layer, "keys", None), getattr(layer, "values", None)]
    for states in (getattr(layer, "conv_states", {}), getattr(layer, "recurrent_states", {})):
        kept.extend(states.values())
    return [held for held in kept if held is not None]
