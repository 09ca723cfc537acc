"""Exports of a package that are imported on first use, so that `import manticore` and `--help` stay fast."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from types import ModuleType
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


class CallablePackage(ModuleType):
    """A package that is called like a function; `make_callable` makes one.

    Importing `manticore.export.load` binds `manticore.export` to the package, so a function of this name in `manticore`
    would be replaced. The package itself is called instead.
    """

    function_name: str

    @property
    def function(self) -> Callable[..., Any]:
        """The function that a call runs, imported when it is first needed."""
        module, _, name = self.function_name.rpartition(".")
        function: Callable[..., Any] = getattr(import_module(module), name)
        return function

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.function(*args, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self.function)


def make_callable(package: str, function_name: str) -> None:
    """Let an imported package be called as a function.

    Args:
        package: dotted name of the package.
        function_name: dotted name of the function.
    """
    module = sys.modules[package]
    module.__class__ = CallablePackage
    module.__dict__["function_name"] = function_name
