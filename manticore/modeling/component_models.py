"""Model classes of components that transformers does not have: twins, and users' own.

In this package the table of users' own classes is empty. A checkpoint of a hybrid with such a component ends this file
with the source of its configuration and of its backbone, and so registers both with transformers' Auto classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from transformers import AutoConfig, AutoModel

from .twins import TWIN_CONFIGS

__all__ = ["COMPONENT_MODELS", "TWIN_CONFIGS", "component_model"]

COMPONENT_MODELS: dict[str, type] = {}
"""Backbone classes by model type."""

ModelClass = TypeVar("ModelClass", bound=type)


def component_model(model_type: str, config_class: Any) -> Callable[[ModelClass], ModelClass]:
    """Decorator that registers a backbone class and its configuration class with transformers' Auto classes."""

    def register(model_class: ModelClass) -> ModelClass:
        AutoConfig.register(model_type, config_class, exist_ok=True)
        AutoModel.register(config_class, model_class, exist_ok=True)
        COMPONENT_MODELS[model_type] = model_class
        return model_class

    return register
