"""Registers hybrids with transformers' Auto classes without importing transformers first.

After `import manticore`, `AutoModelForCausalLM.from_pretrained(folder)` must load a hybrid without remote code, in any
order of imports. transformers has no lazy way to register a class, and an eager registration would make `import
manticore` take 6 s instead of 0.1 s, since it imports torch and transformers. So an import hook waits for the one
module of transformers that defines the Auto classes, imports `manticore.modeling` after it, and removes itself.

A module of models of transformers may import the Auto classes from its middle, and hybrid classes derive from classes
of such modules. A second hook therefore imports the Auto classes before the first module of models begins.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
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
        sys.meta_path[:0] = [_AutoModuleHook(), _ModelModuleHook()]


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


class _ModelModuleHook(MetaPathFinder):
    """Imports `AUTO_MODULE` before a module that may import it from its middle; does nothing once it is imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, module = fullname.rpartition(".")
        models = package.startswith("transformers.models.") and module.startswith("modeling_")
        if fullname == AUTO_MODULE or not (models or fullname == "transformers.modeling_layers"):
            return None
        sys.meta_path.remove(self)
        if AUTO_MODULE not in sys.modules:
            import_module(AUTO_MODULE)
        loaded = sys.modules.get(fullname)
        if loaded is None:
            return find_spec(fullname)
        spec = ModuleSpec(fullname, _Loaded(loaded))
        loaded.__spec__ = None  # otherwise importlib takes the module's own spec, which executes it again
        return spec


class _Loaded(Loader):
    """The loader of a module that was imported while its spec was determined; it is not executed again."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The imported module."""
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        """Restore the module's own spec."""
        module.__spec__ = self.spec
