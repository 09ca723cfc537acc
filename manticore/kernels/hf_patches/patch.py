"""One name of transformers that ours stands in for, and when it steps aside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.jit._trace import is_tracing

from manticore.errors import ManticoreError

_is_tracing: Callable[[], bool] = is_tracing


@dataclass(frozen=True)
class Patch:
    """Replace `owner.name` by `replace(what was there)`; `owner` is a module or a class."""

    owner: Any
    name: str
    replace: Callable[[Callable[..., Any]], Callable[..., Any]]

    def original(self) -> Callable[..., Any]:
        """What is there now. Raises ManticoreError if nothing is."""
        held: Callable[..., Any] | None = vars(self.owner).get(self.name)
        if held is None:
            where = getattr(self.owner, "__qualname__", self.owner.__name__)
            raise ManticoreError(f"transformers' {where} has no '{self.name}'; allowed: transformers 5.17 to 5.23.")
        return held


def watched() -> bool:
    """Whether torch compiles, exports or traces just now: it should see transformers' own functions then."""
    return torch.compiler.is_compiling() or _is_tracing()
