"""The cache of a hybrid for generation: for each stage, the cache that its own family uses.

Attention stages cache keys and values, recurrent stages the window of their convolution and their state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer


class HybridCache(Cache):
    """A `DynamicCache` for each stage that has a segment, the cache of an op, None for skipped stages.

    As a `Cache` it is the concatenation of the layers of all stages, so reordering, resetting and moving to a device
    work as for every Hugging Face cache.

    Args:
        stages: the caches of the stages.
        stateful: whether some stage is recurrent, or an op with a state, so that tokens cannot be removed.

    Attributes:
        seen: number of tokens seen so far, padding included.
        padded: whether some of them were padding.
    """

    def __init__(self, stages: list[Cache | None], stateful: bool) -> None:
        super().__init__(layers=[layer for stage in stages if stage is not None for layer in stage.layers])
        self.stages = stages
        self.stateful = stateful
        self.seen = 0
        self.padded = False

    @classmethod
    def checked(cls, cache: Any) -> HybridCache | None:
        """`cache` itself. Raises ValueError if it is of another class, which has no recurrent state."""
        if not isinstance(cache, cls | None):
            raise ValueError(f"past_key_values must be a HybridCache (model.new_cache()), not a {type(cache).__name__}")
        return cache

    def filled(self, prefix: DynamicCache, shapes: Sequence[tuple[int, int, int] | None]) -> HybridCache:
        """This empty cache with the keys and values of `prefix`, which has one layer for each layer of the path.

        `shapes` has the `attention_shape` of each stage. Raises ValueError for recurrent stages and for other shapes.
        """
        layers = iter(prefix.layers)
        for stage, shape in zip(self.stages, shapes, strict=True):
            for own in [] if stage is None else stage.layers:
                layer: Any = next(layers)
                heads, width = layer.keys.shape[1::2]
                if shape is None or (heads, width) != shape[1:]:
                    expected = "no keys and values" if shape is None else f"{shape[1]} heads of {shape[2]} features"
                    raise ValueError(f"a prefix has {heads} heads of {width} features; a stage has {expected}")
                own.update(layer.keys, layer.values)
        self.seen = prefix.get_seq_length()
        return self

    @property
    def is_compileable(self) -> bool:
        """False: shapes grow, and each stage builds its own mask. Otherwise `generate` would build one for all."""
        return False

    @property
    def max_cache_len(self) -> int:
        """-1: the cache grows without limit. Tools read this number if a cache is not a `DynamicCache`."""
        return -1

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Number of tokens seen so far, padding included."""
        return self.seen

    def reset(self) -> None:
        """Empty the cache."""
        for layer in self.layers:
            if isinstance(layer, DynamicLayer):  # transformers 5.17 zeroes the keys and keeps their length
                layer.keys = layer.values = None
                layer.is_initialized = False
        super().reset()
        self.seen = 0
        self.padded = False

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the last n tokens, passed as `-n`. Raises ValueError for too many, or if a stage is recurrent."""
        if self.stateful:
            raise ValueError("a cache with recurrent stages cannot take tokens back: a state does not keep the past")
        if tokens_to_remove < -self.seen:
            raise ValueError(f"a cache of {self.seen} tokens cannot take {-tokens_to_remove} back")
        super().crop(tokens_to_remove)
        self.seen = self.seen + tokens_to_remove if tokens_to_remove <= 0 else min(self.seen, tokens_to_remove)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the rows `indices`, in this order."""
        self.reorder_cache(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row `repeats` times."""
        self.reorder_cache(torch.arange(self.num_rows()).repeat_interleave(repeats))

    def num_rows(self) -> int:
        """Number of sequences in the cache; 0 while it is empty."""
        tensors = [tensor for layer in self.layers for tensor in cached_tensors(layer)]
        return len(tensors[0]) if tensors else 0


def cached_tensors(layer: Any) -> list[Tensor]:
    """The tensors of a cache layer, rows first: keys and values, convolution window and state, or those of an op."""
    tensors = [getattr(layer, "keys", None), getattr(layer, "values", None), *state_tensors(layer)]
    tensors.extend(getattr(layer, "tensors", {}).values())
    return [tensor for tensor in tensors if tensor is not None]


def state_tensors(layer: Any) -> list[Tensor]:
    """The convolution window and the state of a cache layer, rows first; empty for a layer of attention alone."""
    states = (getattr(layer, "conv_states", {}), getattr(layer, "recurrent_states", {}))
    return [tensor for group in states for tensor in group.values() if tensor is not None]
