"""What a component is before it is loaded: where its model comes from, and the sizes of a from-scratch one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from manticore.errors import ManticoreError, UnknownName

SKIP = "skip"
"""Name of the candidate that leaves a stage out."""

INITS = ("auto", "pretrained", "scratch")


@dataclass(frozen=True)
class ComponentSpec:
    """One component, not yet loaded.

    Attributes:
        source: alias (`ls models` lists them), hub id, or local folder of a Hugging Face model.
        name: how the path, the alphas and the tables call it. Default: from the source.
        revision: commit, tag or branch on the hub. Default: the alias's pinned one.
        init: `pretrained` loads weights, `scratch` draws new ones; `auto` is scratch for an alias on a task with its
            own vocabulary and pretrained otherwise.
        size: overrides of the sizes a from-scratch component gets (width, layers, heads,
            intermediate_size, state_size, window_size).
        model: a Hugging Face model object to use as it is, instead of a source (Python only).
    """

    source: str = ""
    name: str = ""
    revision: str | None = None
    init: str = "auto"
    size: dict[str, int] = field(default_factory=dict)
    model: Any = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        for key, kind in {"source": str, "name": str, "revision": str | None, "size": dict}.items():
            if not isinstance(getattr(self, key), kind):
                raise ManticoreError(f"component field '{key}' cannot be {getattr(self, key)!r}")
        if not self.source and self.model is None:
            raise ManticoreError("a component needs a source: an alias, a hub id or a local folder")
        if self.init not in INITS:
            raise UnknownName("component init", self.init, INITS)
        if not self.name:
            stem = Path(self.source).name if self.source else type(self.model).__name__
            object.__setattr__(self, "name", re.sub(r"[^A-Za-z0-9_-]", "_", stem))
        if self.name == SKIP or not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
            raise ManticoreError(f"component name '{self.name}' must be letters, digits, - or _, and not '{SKIP}'")

    @classmethod
    def of(cls, given: Any) -> ComponentSpec:
        """A spec from a spec, a name, a mapping of fields, or a Hugging Face model object."""
        if isinstance(given, cls):
            return given
        if isinstance(given, str | Path):
            return cls(source=str(given))
        if isinstance(given, dict):
            unknown = [key for key in given if key not in cls.__dataclass_fields__]
            if unknown:
                raise UnknownName("component field", unknown[0], cls.__dataclass_fields__)
            return cls(**given)
        return cls(model=given)


@dataclass(frozen=True)
class BlockSize:
    """Sizes of a component built from scratch, in terms every family has."""

    width: int
    """Features of the residual stream, D_k."""

    layers: int
    """Number of layers, N_k."""

    heads: int = 8
    """Attention heads (recurrent families ignore it)."""

    intermediate_size: int = 0
    """Features inside the feed-forward layers; 0: four times the width (recurrent families ignore it)."""

    state_size: int = 16
    """Features of the recurrent state for each channel (attention families ignore it)."""

    window_size: int = 256
    """Reach of local attention in tokens, where the family has any."""

    def __post_init__(self) -> None:
        for key in fields(self):
            value, least = getattr(self, key.name), 0 if key.name == "intermediate_size" else 1
            if not isinstance(value, int) or value < least:
                raise ManticoreError(f"size '{key.name}' must be a whole number of at least {least}, got {value!r}")
