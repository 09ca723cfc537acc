"""A patch: one name in transformers and its replacement, and when a replacement must call the original."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.jit._trace import is_tracing

from manticore.errors import ManticoreError

_is_tracing: Callable[[], bool] = is_tracing

Function = Callable[..., Any]


@dataclass(frozen=True)
class Patch:
    """Replace `owner.name` by `replace(original)`; `owner` is a module or a class."""

    owner: Any
    name: str
    replace: Callable[[Function], Function]

    def original(self) -> Callable[..., Any]:
        """The present value of `owner.name`. Raises ManticoreError if there is none."""
        function: Callable[..., Any] | None = vars(self.owner).get(self.name)
        if function is None:
            owner = getattr(self.owner, "__qualname__", self.owner.__name__)
            raise ManticoreError(f"transformers' {owner} has no '{self.name}'; allowed: transformers 5.17 to 5.23.")
        return function


def is_captured() -> bool:
    """Whether torch compiles, exports or traces now: it must see transformers' own functions then."""
    return torch.compiler.is_compiling() or _is_tracing()


def is_exported() -> bool:
    """Whether torch exports or traces now: a program of its own must not depend on this package's operators."""
    return torch.compiler.is_exporting() or _is_tracing()
