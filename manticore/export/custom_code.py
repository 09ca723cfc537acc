"""Embeds the source of registered runtime classes in checkpoints, which then load where that code is not installed.

The files of `manticore.modeling` are copied into every checkpoint. A projector, head or topology that was registered
from outside is appended to the file that has the registry, with the classes and functions of its module that it uses.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from manticore.errors import ManticoreError, UnknownName
from manticore.modeling import heads, projectors, wiring
from manticore.modeling.configuration_manticore import HybridConfig
from manticore.utils.io import write_text

Definition = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True)
class Registry:
    """A table of runtime classes that users can extend; its name is that of its decorator.

    Attributes:
        decorator: name of the function of `module` that registers a class; also names such a class in messages.
        module: module of `manticore.modeling` with the table. Embedded code may use the names in it.
        table: the registered classes by name.
    """

    decorator: str
    module: ModuleType
    table: dict[str, Any]


PROJECTOR = Registry("projector", projectors, projectors.PROJECTORS)
HEAD = Registry("head", heads, heads.HEADS)
TOPOLOGY = Registry("topology", wiring, wiring.TOPOLOGIES)


def check_exportable(projector: str, topology: str, head: str | None = None) -> None:
    """Raises ManticoreError unless checkpoints with these classes can carry their source. `lm` is no head type."""
    for registry, name in _used(projector, topology, head):
        custom_source(registry, name)


def embed_custom_code(folder: Path, config: HybridConfig) -> None:
    """Append the user's own classes that a hybrid uses to the modules in its checkpoint. Raises ManticoreError."""
    for registry, name in _used(config.projector["kind"], config.topology, config.head):
        if source := custom_source(registry, name):
            file = folder / f"{registry.module.__name__.rpartition('.')[2]}.py"
            write_text(file, f"{file.read_text(encoding='utf-8')}\n\n{source}\n")


def _used(projector: str, topology: str, head: str | None) -> Iterator[tuple[Registry, str]]:
    yield PROJECTOR, projector
    yield TOPOLOGY, topology
    if head is not None and head != "lm":
        yield HEAD, head


def custom_source(registry: Registry, name: str) -> str:
    """The source that a checkpoint with the class `name` carries; empty for built-in classes.

    Raises ManticoreError if the source is not available, or if it uses names that a checkpoint does not have.
    """
    if name not in registry.table:
        raise UnknownName("kind of task" if registry is HEAD else registry.decorator, name, registry.table)
    target = registry.table[name]
    if target.__module__ == registry.module.__name__:
        return ""
    label = f"{registry.decorator} '{name}'"
    definition = _parse(target, label)
    definition.decorator_list = [ast.parse(f"{registry.decorator}({name!r})", mode="eval").body]
    definitions = _dependencies(target, definition, label, registry.module, {target.__name__})
    return "\n\n\n".join(ast.unparse(each) for each in (*definitions, definition))


def _dependencies(
    target: Any, definition: Definition, label: str, module: ModuleType, visited: set[str]
) -> Iterator[Definition]:
    """The classes and functions of the same file that `target` uses, each after those that it uses itself."""
    if target.__name__ in vars(module):
        raise ManticoreError(f"{label} needs '{target.__name__}', a name in {module.__name__}; choose another name")
    own_module = vars(sys.modules[target.__module__])
    for name in sorted(_outside_names(definition) - set(dir(builtins)) - {*visited}):
        used = own_module.get(name)
        if (inspect.isclass(used) or inspect.isfunction(used)) and used.__module__ == target.__module__:
            visited.add(name)
            helper = _parse(used, label)
            yield from _dependencies(used, helper, label, module, visited)
            yield helper
        elif name not in vars(module) or (used is not None and used is not vars(module)[name]):
            raise ManticoreError(
                f"{label} uses '{name}', which an exported checkpoint does not have; it may use the names in "
                f"{module.__name__} and classes and functions of its own file, and nothing else from outside its class"
            )


def _parse(target: Any, label: str) -> Definition:
    try:
        definition = ast.parse(textwrap.dedent(inspect.getsource(target))).body[0]
    except (OSError, TypeError):
        raise ManticoreError(f"the source of {label} cannot be found; define it in a file or a notebook cell") from None
    assert isinstance(definition, Definition)
    return definition


def _outside_names(definition: Definition) -> set[str]:
    """Names that a definition reads and does not define. Annotations are left out: they are not evaluated."""
    read: set[str] = set()
    defined = {definition.name, "__class__"}
    nodes = list(ast.walk(definition))
    hints = [getattr(node, field, None) for node in nodes for field in ("annotation", "returns")]
    annotations = {id(inner) for hint in hints if hint is not None for inner in ast.walk(hint)}
    for node in nodes:
        if id(node) in annotations:
            continue
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else defined).add(node.id)
        elif isinstance(node, ast.arg):
            defined.add(node.arg)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.alias):
            defined.add(node.asname or node.name.partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name is not None:
            defined.add(node.name)
    return read - defined
