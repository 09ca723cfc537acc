"""Hybrids under a backend that brings its own attention and cache, such as vLLM's Transformers backend.

Such a backend calls the backbone with all sequences in one row and one attention object for each layer of the path. It
reads the shape of heads, the windows and the factors of the logits from the configuration, one for the whole model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from transformers import AutoModel, PretrainedConfig

BUILT_IN = (None, "eager", "sdpa")
"""Attention implementations that transformers runs itself on any device."""


OTHER_SHAPES = ("gpt2",)
"""Model types that pass the backend's attention on, and then reshape its output in another way than the backend."""


@dataclass(frozen=True)
class StageLayers:
    """What runs a stage that is not skipped.

    Attributes:
        name: of the component or op.
        config: configuration of the component; None for an op.
        recurrent: whether its layers have a recurrent state.
        layers: indices of its layers.
    """

    name: str
    config: PretrainedConfig | None = None
    recurrent: bool = False
    layers: Sequence[int] = ()

    @property
    def windows(self) -> list[int | None]:
        """The sliding window of each layer; None for full attention."""
        window, types = getattr(self.config, "sliding_window", None), getattr(self.config, "layer_types", None)
        return [window if types is None or types[layer] == "sliding_attention" else None for layer in self.layers]


def attention_shape(config: PretrainedConfig) -> tuple[int, int, int] | None:
    """Heads of queries, heads of keys and values, and features of a head; None without attention."""
    heads = getattr(config, "num_attention_heads", None)
    if heads is None:
        return None
    keys, width = getattr(config, "num_key_value_heads", None), getattr(config, "head_dim", None)
    return heads, keys or heads, width or config.hidden_size // heads


def serving_fields(stages: Sequence[StageLayers]) -> dict[str, Any]:
    """Fields that a backend reads of a path of attention: `layer_types` and `sliding_window`, if there is a window."""
    if any(stage.config is None or stage.recurrent for stage in stages):
        return {}
    windows = [window for stage in stages for window in stage.windows]
    sizes = [window for window in windows if window is not None]
    if not sizes:
        return {}
    types = ["full_attention" if window is None else "sliding_attention" for window in windows]
    return {"sliding_window": sizes[0], "layer_types": types}


def backend_obstacle(stages: Sequence[StageLayers]) -> str:
    """Why a backend with its own attention cannot run a path; empty if it can."""
    facts: dict[str, set[Any]] = {"heads": set(), "windows": set(), "caps": set()}
    for stage in stages:
        config = stage.config
        if config is None:
            return f"'{stage.name}' is an op, which would see all sequences of a batch as one"
        if stage.recurrent:
            return f"'{stage.name}' is recurrent ({config.model_type})"
        own = config.model_type in OTHER_SHAPES
        if own or not AutoModel._model_mapping[type(config)].is_backend_compatible():
            return f"'{stage.name}' has an attention of its own ({config.model_type})"
        facts["heads"].add(attention_shape(config))
        facts["windows"] |= {window for window in stage.windows if window is not None}
        facts["caps"].add(getattr(config, "attn_logit_softcapping", None))
        for name, values in facts.items():
            if len(values) > 1:
                return f"'{stage.name}' has {name} of another size than the stages before it"
    return ""
