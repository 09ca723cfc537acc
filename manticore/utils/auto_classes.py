"""Registers hybrids with transformers' Auto classes without importing transformers first.

After `import manticore`, `AutoModelForCausalLM.from_pretrained(folder)` must load a hybrid without remote code, in any
order of imports. transformers has no lazy way to register a class, and an eager registration would make `import
manticore` take 6 s instead of 0.1 s, since it imports torch and transformers. So an import hook waits for the one
module of transformers that defines the Auto classes, or a module of models, which imports it; then it imports
`manticore.modeling` and removes itself.
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
        sys.meta_path.insert(0, _AutoModuleHook())


class _AutoModuleHook(MetaPathFinder):
    """Imports the Auto classes and then `HYBRID_MODULE`, before a module of transformers that needs the Auto classes.

    A module of models that is imported first imports the Auto classes from its middle, and the hybrid classes derive
    from classes of such modules; so they are imported before it begins, not during its import.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != AUTO_MODULE and not _imports_auto_classes(fullname):
            return None
        sys.meta_path.remove(self)
        if HYBRID_MODULE not in sys.modules:  # otherwise it is what imports transformers
            import_module(AUTO_MODULE)
            import_module(HYBRID_MODULE)
        if fullname not in sys.modules:
            return find_spec(fullname)
        return ModuleSpec(fullname, _Imported(sys.modules[fullname]))


def _imports_auto_classes(name: str) -> bool:
    """Whether a module of this name may import the Auto classes."""
    package, _, module = name.rpartition(".")
    return name == "transformers.modeling_layers" or (
        package.startswith("transformers.models.") and module.startswith("modeling_")
    )


class _Imported(Loader):
    """Loads a module that was imported while its spec was determined."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The imported module."""
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        """Nothing is executed again."""
        module.__spec__ = self.spec
