"""How much text models can see at once, and a task's options that ask for no more."""

from __future__ import annotations

from transformers import (
    AutoConfig,
    PretrainedConfig,
)

from manticore.components.families import family_of
from manticore.components.loading import folder_of
from manticore.components.spec import ComponentSpec
from manticore.modeling.configuration_manticore import HybridConfig


def context_length(spec: ComponentSpec) -> int | None:
    """Absolute positions of a component in a local folder, by its config; None for no limit, or where none can be read.

    What is wrong with the folder is said when it is loaded.
    """
    folder = None if spec.init == "scratch" else folder_of(spec)
    if folder is None:
        return None
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        absolute = family_of(config).layout.positions is not None
    except Exception:  # transformers, hub and JSON each have their own
        return None
    limit = getattr(config, "max_position_embeddings", None) if absolute else None
    return limit if isinstance(limit, int) and limit > 1 else None


def context_length_of_hybrid(config: HybridConfig) -> int | None:
    """Positions of a hybrid's components that have absolute ones, the least; None for no limit."""
    absolute = {name for name, held in config.components.items() if held["layout"]["positions"] is not None}
    return min((limit for name, limit in context_lengths(config).items() if name in absolute), default=None)


def context_lengths(config: PretrainedConfig) -> dict[str, int]:
    """By component, how many positions those of a hybrid, or a model by itself, have; recurrent ones have no limit."""
    if isinstance(config, HybridConfig):
        return config.position_limits
    limit = getattr(config, "max_position_embeddings", None)
    return {} if limit is None else {config.model_type: limit}
