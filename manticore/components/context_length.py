"""Context lengths: how many tokens a model can read at once, and one check for all commands.

A model with a table of absolute positions (GPT-2, GPT-Neo) cannot read more tokens than the table has rows. A rotary
model declares the length that it was trained on. A recurrent model has no limit.
"""

from __future__ import annotations

from collections.abc import Mapping

from transformers import AutoConfig, PretrainedConfig

from manticore.components.component import Component
from manticore.components.families import family_of
from manticore.components.loading import folder_of
from manticore.components.spec import ComponentSpec
from manticore.errors import ManticoreError
from manticore.modeling.configuration_manticore import HybridConfig


def context_length(spec: ComponentSpec) -> int | None:
    """Number of absolute positions of a component that is not loaded yet, from the config in a local folder.

    None if the component has no such limit, is on the hub, or has a config that cannot be read; loading the component
    reports a damaged config.
    """
    folder = None if spec.init == "scratch" else folder_of(spec)
    if folder is None:
        return None
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        absolute = family_of(config).layout.positions is not None
    except Exception:  # transformers, hub and JSON raise different ones
        return None
    limit = getattr(config, "max_position_embeddings", None) if absolute else None
    return limit if isinstance(limit, int) and limit > 1 else None


def component_context_length(component: Component) -> int | None:
    """Number of absolute positions of a loaded component; None if it has no such limit."""
    if component.layout.positions is None:
        return None
    return getattr(component.config, "max_position_embeddings", None)


def hybrid_context_lengths(config: HybridConfig) -> dict[str, int]:
    """Number of absolute positions of each component of a hybrid; components without such a limit are absent."""
    absolute = {name for name, component in config.components.items() if component["layout"]["positions"] is not None}
    return {name: limit for name, limit in config.position_limits.items() if name in absolute}


def declared_context_lengths(config: PretrainedConfig) -> dict[str, int]:
    """Context length of each component of a hybrid, or of another model by its type, rotary models included."""
    if isinstance(config, HybridConfig):
        return config.position_limits
    limit = getattr(config, "max_position_embeddings", None)
    return {} if limit is None else {config.model_type: limit}


def check_context_length(limits: Mapping[str, int | None], tokens: int, what: str, advice: str) -> None:
    """Check that a text fits into the shortest context of some models.

    Args:
        limits: context length of each model in tokens; None: no limit.
        tokens: length of the text in tokens.
        what: kind of text, for the message: `a sequence`, `a passage`.
        advice: what the user can change, for the message; `{limit}` in it stands for the context length.

    Raises ManticoreError, which names the model with the shortest context.
    """
    lengths = {name: limit for name, limit in limits.items() if limit is not None}
    name = min(lengths, key=lambda model: lengths[model], default=None)
    if name is not None and tokens > lengths[name]:
        raise ManticoreError(
            f"{what} of {tokens:,} tokens exceeds the context length of '{name}' ({lengths[name]:,}); "
            f"{advice.format(limit=lengths[name])}"
        )


TASK_ADVICE = "choose a shorter length for the task"
"""Advice where the length is that of a task's sequences."""
