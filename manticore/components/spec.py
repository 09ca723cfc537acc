"""Components that are not loaded yet: the source of the model, and the sizes of one from scratch."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from manticore.errors import ManticoreError, UnknownName, shown
from manticore.utils.fields import Checked, NonNegativeInt, PositiveInt, convert, field_types, from_mapping

SKIP = "skip"
"""Name of the candidate that skips a stage."""

MOST_LAYERS = 10_000
"""Largest number of layers of a component, and of stages of a space: lists of that length are made."""


@dataclass(frozen=True)
class BlockSize(Checked):
    """Sizes of a component built from scratch, in terms that all families share."""

    width: PositiveInt
    """Features of the residual stream, D_k."""

    layers: PositiveInt
    """Number of layers, N_k."""

    heads: PositiveInt = 8
    """Number of attention heads (recurrent families ignore it)."""

    intermediate_size: NonNegativeInt = 0
    """Features inside the feed-forward layers; 0: four times the width (recurrent families ignore it)."""

    state_size: PositiveInt = 16
    """Features of the recurrent state per channel (attention families ignore it)."""

    window_size: PositiveInt = 256
    """Tokens that local attention reaches back, in families that have it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layers > MOST_LAYERS:
            raise ManticoreError(f"layers must be a whole number of at most {MOST_LAYERS:,}, got {self.layers:,}")


@dataclass(frozen=True)
class ComponentSpec(Checked):
    """One component, not yet loaded.

    Attributes:
        source: alias (`ls models` lists them), hub id, or local folder of a Hugging Face model.
        name: name in paths, alphas and tables. Default: from the source.
        revision: commit, tag or branch on the hub. Default: the alias's pinned one.
        init: `pretrained` loads weights, `scratch` draws new ones; `auto` is scratch for an alias on a task with its
            own vocabulary and pretrained otherwise.
        size: overrides of the sizes a from-scratch component gets (width, layers, heads,
            intermediate_size, state_size, window_size).
        model: a Hugging Face model object to use as it is, instead of a source (Python only).
        tokenizer: the tokenizer of that model, for tasks of text (Python only).
    """

    source: str = ""
    name: str = ""
    revision: str | None = None
    init: Literal["auto", "pretrained", "scratch"] = "auto"
    size: dict[str, int] = field(default_factory=dict)
    model: Any = field(default=None, compare=False, repr=False)
    tokenizer: Any = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        sizes = field_types(BlockSize)
        for key, value in self.size.items():
            if key not in sizes:
                raise UnknownName("field", f"component.size.{key}", [f"component.size.{name}" for name in sizes])
            convert(value, sizes[key], f"component.size.{key}")
        if self.model is not None and not hasattr(self.model, "forward"):
            raise ManticoreError(f"a component is a name, a folder or a Hugging Face model, not {shown(self.model)}")
        if self.model is not None and not (hasattr(self.model, "save_pretrained") and hasattr(self.model, "config")):
            raise ManticoreError(
                f"a component is a name, a folder or a Hugging Face model, and {type(self.model).__name__} is none; "
                "a module that is to run single stages goes into mc.Op; a whole model is wrapped as a PreTrainedModel "
                "with a config, and its family is registered (mc.register.family)"
            )
        if self.tokenizer is not None and (self.model is None or not hasattr(self.tokenizer, "save_pretrained")):
            what = (
                "goes with model=; a source has its own" if self.model is None else "must be a Hugging Face tokenizer"
            )
            name = self.name or self.source or type(self.model).__name__
            raise ManticoreError(f"the tokenizer of component '{name}' {what}")
        if not self.source and self.model is None:
            raise ManticoreError("a component needs a source: an alias, a hub id or a local folder")
        if not self.name:
            stem = Path(self.source).name if self.source else type(self.model).__name__
            object.__setattr__(self, "name", re.sub(r"[^A-Za-z0-9_-]", "_", stem))
        if self.name == SKIP or not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
            raise ManticoreError(f"component name '{self.name}' must be letters, digits, - or _, and not '{SKIP}'")

    @classmethod
    def of(cls, component: Any, tokenizer: Any = None) -> ComponentSpec:
        """A spec from a spec, a name, a mapping of fields, a model object, or a pair of a model and its tokenizer.

        `tokenizer` is that of a model object without one.
        """
        if isinstance(component, cls):
            without = component.model is not None and component.tokenizer is None
            return replace(component, tokenizer=tokenizer) if without and tokenizer is not None else component
        if isinstance(component, str | Path):
            return cls(source=str(component))
        if isinstance(component, dict):
            return from_mapping(cls, component, "field", "component.")
        if isinstance(component, tuple | list) and len(component) == 2:
            return cls(model=component[0], tokenizer=component[1])
        return cls(model=component, tokenizer=tokenizer)

    def save_model(self, folder: Path) -> None:
        """Save the model object, and its tokenizer if there is one, as a Hugging Face folder."""
        for part in (self.model, self.tokenizer):
            if part is not None:
                part.save_pretrained(folder)

    def to_plain(self) -> str | dict[str, Any]:
        """Plain data that `of` reads: the source alone if nothing else is set, otherwise a mapping.

        Raises ManticoreError if the component is a model object.
        """
        if self.model is not None:
            raise ManticoreError(f"component '{self.name}' is a model object; save it to a folder to write it down")
        if self == ComponentSpec(self.source):
            return self.source
        return {key: value for key in field_types(ComponentSpec) if (value := getattr(self, key)) not in (None, {})}
