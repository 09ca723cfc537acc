"""Text generation with a hybrid: `generate` gets a `HybridCache`; other caches and batching by pages are refused."""

from __future__ import annotations

from typing import Any

from transformers import GenerationConfig

from .cache import HybridCache


class HybridGenerationMixin:
    """`generate` with a `HybridCache`. Precedes `GenerationMixin` in classes whose `self.model` is a `HybridModel`."""

    model: Any

    @property
    def _is_stateful(self) -> bool:
        return bool(self.model.stateful)  # transformers then refuses assisted generation, which removes tokens

    def new_cache(self) -> HybridCache:
        """An empty cache, to be passed as `past_key_values`."""
        cache: HybridCache = self.model.new_cache()
        return cache

    def generate_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Continuous batching, which hybrids do not have. Raises ValueError."""
        raise ValueError("a hybrid has no continuous batching: its caches are not paged; use generate with a batch")

    init_continuous_batching = continuous_batching_context_manager = generate_batch

    def _prepare_cache_for_generation(
        self, generation_config: GenerationConfig, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        """Called by `generate` with what it passes on to `forward`: adds an empty cache where there is none.

        Raises ValueError for caches of another class, and for prompts with padding on the right.
        """
        mask, implementation = model_kwargs.get("attention_mask"), generation_config.cache_implementation
        if mask is not None and not bool(mask[:, -1].all()):
            raise ValueError("a prompt that ends in padding cannot be continued; pad on the left (padding_side='left')")
        if implementation not in (None, "dynamic"):
            raise ValueError(f"cache_implementation '{implementation}' is not supported: a hybrid has a HybridCache")
        cache = self.model.own_cache(model_kwargs.get("past_key_values"))
        if cache is None and generation_config.use_cache is not False:
            cache = model_kwargs["past_key_values"] = self.new_cache()
            if getattr(generation_config, "is_assistant", False):
                cache.activate_past_recording()  # its proposed tokens may be rejected, and are then removed
