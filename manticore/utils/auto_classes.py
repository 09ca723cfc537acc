"""Registers hybrids with transformers' Auto classes without importing transformers first.

After `import manticore`, `AutoModelForCausalLM.from_pretrained(folder)` must load a hybrid without remote code, in any
order of imports. transformers has no lazy way to register a class, and an eager registration would make `import
manticore` take 6 s instead of 0.1 s, since it imports torch and transformers. So an import hook waits for the one
module of transformers that defines the Auto classes, imports `manticore.modeling` after it, and removes itself.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType

AUTO_MODULE = "transformers.models.auto.modeling_auto"
HYBRID_MODULE = "manticore.modeling"
"""Module that registers the hybrid classes when it is imported."""


def register_hybrids() -> None:
    """Register the hybrid classes now if transformers is imported, else as soon as its Auto classes are."""
    if AUTO_MODULE in sys.modules:
        import_module(HYBRID_MODULE)
    elif not any(isinstance(finder, _AutoModuleHook) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AutoModuleHook())


class _AutoModuleHook(MetaPathFinder):
    """Finds `AUTO_MODULE` with the regular finders and lets its loader import `HYBRID_MODULE` afterwards."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != AUTO_MODULE:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        exec_module = spec.loader.exec_module

        def exec_and_register(module: ModuleType) -> None:
            exec_module(module)
            if HYBRID_MODULE not in sys.modules:  # otherwise it is what imports transformers
                import_module(HYBRID_MODULE)

        spec.loader.exec_module = exec_and_register  # type: ignore[method-assign]
        return spec
