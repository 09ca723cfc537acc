"""Makes transformers' Auto classes know hybrids, without importing transformers before it is wanted.

`manticore.modeling` registers its classes when it is imported. `announce` sees to it that this happens no later than
the import of the module that holds the Auto classes of models.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_MODELS = "transformers.models.auto.modeling_auto"
_OURS = "manticore.modeling"


def register_lazily() -> None:
    """Register hybrids now where transformers is loaded, and as soon as it is where it is not."""
    if _MODELS in sys.modules:
        import_module(_OURS)
    elif not any(isinstance(finder, _ImportHook) for finder in sys.meta_path):
        sys.meta_path.insert(0, _ImportHook())


class _ImportHook(MetaPathFinder):
    """Lets the usual finders find the awaited module, and wraps its loader."""

    def __init__(self) -> None:
        self.awaited = {_MODELS}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.awaited:
            return None
        self.awaited.discard(fullname)  # the look-up below comes through here again
        spec = find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _LoaderHook(spec.loader)
        return spec


class _LoaderHook(Loader):
    """Runs a module's code as its own loader would, then imports ours."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self.inner.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        self.inner.exec_module(module)
        if _OURS not in sys.modules:  # else it is being imported, and it is what asked for this module
            import_module(_OURS)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)
