"""An operator as a candidate of a search space: a torch module of the user's own. Pure data; it imports no torch."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from manticore.components.spec import SKIP
from manticore.errors import ManticoreError, UnknownName, shown
from manticore.utils.fields import Checked, from_mapping
from manticore.utils.registry import add_plugins

TRUST_ADVICE = "add --trust-code (in Python trust_code=True) if you trust it"
"""What to do where code is named and not yet allowed to run, for error messages."""

_FACTORIES: dict[str, Callable[..., Any]] = {}
"""Classes and functions that this process was given as objects, by import path: they need no import and no trust."""


@dataclass(frozen=True)
class Op(Checked):
    """A candidate that is a module of your own. At a stage it adds `module(h)` to the residual stream `h`.

    The module maps (B, L, D) to an update of the same shape. Sequences must not depend on each other, and the output of
    a causal op at a position must not depend on later positions; both are tested before a search. A module with the
    methods `init_cache` and `step` generates text with a state, see `manticore.modeling.ops`; any other is recomputed
    for every new token from the inputs of its stage, which the cache then keeps.

    Attributes:
        name: name in paths, alphas and tables.
        factory: class or function `(width, **options) -> nn.Module`, where width is D. Its source goes into exported
            checkpoints. Alternatively its import path `package.module:Name`, which needs trust_code, or the name of an
            op registered with `manticore.register.op`.
        options: keyword arguments of the factory; plain data.
        causal: whether the output at a position depends on that position and earlier ones alone. Language models need
            causal ops.

    Raises ManticoreError if the factory has no name by which it can be imported, or an option is not plain data.
    """

    name: str
    factory: Any
    options: dict[str, Any] = field(default_factory=dict)
    causal: bool = True

    _registered_name: ClassVar[str] = ""  # of an op whose factory was found by that name

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name == SKIP or not re.fullmatch(r"[A-Za-z0-9_-]+", self.name):
            raise ManticoreError(f"op name '{self.name}' must be letters, digits, - or _, and not '{SKIP}'")
        try:
            json.dumps(self.options)
        except (TypeError, ValueError, RecursionError):
            raise ManticoreError(f"options of op '{self.name}' must be plain data, got {shown(self.options)}") from None
        if isinstance(self.factory, str):
            return
        name = getattr(self.factory, "__qualname__", None)
        if not callable(self.factory) or name is None or name.endswith("<lambda>"):
            raise ManticoreError(
                f"the factory of op '{self.name}' must be a class or a function with a name, from which every stage "
                f"builds a module of its own, such as mc.Op('{self.name}', MyModule); got {shown(self.factory)}"
            )
        _FACTORIES[self.import_path] = self.factory

    @classmethod
    def of(cls, value: Any) -> Op:
        """An op from an op or a mapping of its fields."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, dict):
            raise ManticoreError(f"an op is a mapping with 'name' and 'factory', not {shown(value)}")
        return from_mapping(cls, value, "field", "op.")

    @property
    def import_path(self) -> str:
        """`package.module:Name` of the factory, or the name of a registered op."""
        if isinstance(self.factory, str):
            return self.factory
        return self._registered_name or f"{self.factory.__module__}:{self.factory.__qualname__}"

    @property
    def importable(self) -> bool:
        """Whether the import path names something at the top level of a module, which other processes can import."""
        return not self.import_path.startswith("__main__:") and "<locals>" not in self.import_path

    def to_plain(self) -> dict[str, Any]:
        """Plain data that `of` reads, with the factory as its import path. Fields at their default are left out."""
        plain: dict[str, Any] = {"name": self.name, "factory": self.import_path}
        return plain | ({"options": self.options} if self.options else {}) | ({} if self.causal else {"causal": False})

    def with_code(self, trust_code: bool = False) -> Op:
        """The same op with its factory as an object.

        Args:
            trust_code: import the module of the import path. The current folder is searched last. A factory that was
                passed as an object in this process needs no import.

        Raises:
            UnknownName: there is no registered op of this name, or the module has no such class or function.
            ManticoreError: the code must be imported and is not trusted, or the import fails.
        """
        if not isinstance(self.factory, str):
            return self
        if ":" not in self.factory:
            op = replace(self, factory=_registered(self.factory))
            object.__setattr__(op, "_registered_name", self.factory)
            return op
        factory = _FACTORIES.get(self.factory)
        return replace(self, factory=factory or _imported(self, trust_code))


def _registered(name: str) -> Callable[..., Any]:
    from manticore.modeling.ops import OPS  # imports torch

    if name not in OPS:
        add_plugins("op", OPS)
    if name not in OPS:
        raise UnknownName("op", name, OPS)
    return OPS[name]


def _imported(op: Op, trust_code: bool) -> Callable[..., Any]:
    path = str(op.factory)
    module_name, _, qualname = path.partition(":")
    if not op.importable:
        raise ManticoreError(
            f"op '{op.name}' ({path}) was defined in a script, a notebook or a function, which cannot be imported: "
            "resume from there with mc.search and the same arguments, or define it in a module"
        )
    if not trust_code:
        raise ManticoreError(f"op '{op.name}' runs code of yours, {path}, which has to be imported; {TRUST_ADVICE}")
    folder = str(Path.cwd())
    sys.path.append(folder)
    try:
        target: Any = import_module(module_name)
    except Exception as error:  # the module may raise anything when it is imported
        reason = " ".join(str(error).split())[:160]
        raise ManticoreError(f"op '{op.name}': {module_name} cannot be imported ({reason})") from None
    finally:
        sys.path.remove(folder)
    for part in qualname.split("."):
        if not hasattr(target, part):
            raise UnknownName(f"name in {module_name}", qualname, [name for name in vars(target) if name[:1] != "_"])
        target = getattr(target, part)
    factory: Callable[..., Any] = target
    return factory
