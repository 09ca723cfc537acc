"""The memory of a hybrid while it generates: for each stage the cache its own family would make.

Attention stages hold keys and values, recurrent stages their convolution and state; none sees another's.
"""

from __future__ import annotations

from transformers import Cache, DynamicCache


class HybridCache(Cache):
    """One `DynamicCache` for each stage that has a segment, None for skipped stages.

    Seen as a `Cache` it is the concatenation of all stages' layers, so reordering, resetting and moving work as they do
    for any Hugging Face cache.
    """

    def __init__(self, stages: list[DynamicCache | None]) -> None:
        super().__init__(layers=[layer for stage in stages if stage is not None for layer in stage.layers])
        self.stages = stages
        self.seen = 0

    @property
    def is_compileable(self) -> bool:
        """False: its shapes grow, and masks are each stage's own affair (generation would else make one for all)."""
        return False

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Number of tokens seen so far, padding included."""
        return self.seen

    def reset(self) -> None:
        """Forget everything."""
        super().reset()
        self.seen = 0
