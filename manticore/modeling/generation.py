"""What generation asks of a hybrid beside logits: a memory of its own kind. Knows nothing of layers.

`generate` may be given a cache, or ask for one of a kind that keeps no recurrent state; it must never do so unseen.
"""

from __future__ import annotations

from typing import Any

from transformers import GenerationConfig

from .cache import HybridCache


class HybridGenerationMixin:
    """`generate` with a `HybridCache`. A base that comes first, of models whose backbone, `self.model`, makes one."""

    model: Any

    @property
    def _is_stateful(self) -> bool:
        return bool(self.model.stateful)  # transformers then refuses what would take tokens back

    def new_cache(self) -> HybridCache:
        """An empty cache, to be given as `past_key_values`."""
        cache: HybridCache = self.model.new_cache()
        return cache

    def _prepare_cache_for_generation(
        self, generation_config: GenerationConfig, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        """Raises ValueError for other kinds of cache, and for prompts padded on the right."""
        mask, asked = model_kwargs.get("attention_mask"), generation_config.cache_implementation
        if mask is not None and not bool(mask[:, -1].all()):
            raise ValueError("a prompt that ends in padding cannot be continued; pad on the left (padding_side='left')")
        if asked not in (None, "dynamic"):
            raise ValueError(f"cache_implementation '{asked}' is not supported: a hybrid remembers in a HybridCache")
        given = model_kwargs.get("past_key_values")
        if not isinstance(given, HybridCache | None):
            raise ValueError(f"past_key_values must be a HybridCache (model.new_cache()), not a {type(given).__name__}")
        if given is None and generation_config.use_cache is not False:
            cache = model_kwargs["past_key_values"] = self.new_cache()
            if getattr(generation_config, "is_assistant", False):
                cache.activate_past_recording()  # its guesses may have to be taken back
