"""Exports of a package that are imported on first use, so that `import manticore` and `--help` stay fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any


def lazy_exports(
    package: str, names: Mapping[str, Sequence[str]]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` (PEP 562) of a package that exports names of its submodules.

    Args:
        package: dotted name of the package.
        names: exported names by dotted submodule, relative to the package.
    """
    module_of = {name: module for module, exported in names.items() for name in exported}

    def import_name(name: str) -> Any:
        if name not in module_of:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(import_module(f"{package}.{module_of[name]}"), name)

    return import_name, lambda: sorted(module_of)
