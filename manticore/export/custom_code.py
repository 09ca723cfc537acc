"""Embeds the source of registered runtime classes in checkpoints, which then load where that code is not installed.

The files of `manticore.modeling` are copied into every checkpoint. A projector, head, topology or op from outside, and
the classes of a component that transformers does not have, are appended to the file that has their registry, together
with what they use of their own module: classes, functions, assignments, and imports of torch, transformers and the
standard library.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
import sys
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from transformers import AutoModel, PretrainedConfig

from manticore.errors import ManticoreError, UnknownName
from manticore.modeling import component_models, heads, ops, projectors, wiring
from manticore.modeling.configuration_manticore import HybridConfig
from manticore.modeling.twins import TWIN_CONFIGS
from manticore.nas.op import Op
from manticore.nas.op_modules import factory_name
from manticore.utils.io import write_text

Definition = ast.ClassDef | ast.FunctionDef

RUNTIME = {"torch", "transformers"} | sys.stdlib_module_names
"""Packages that embedded code may import."""


@dataclass(frozen=True)
class RuntimeTable:
    """A table of runtime classes that users can extend; its name is that of its decorator.

    Attributes:
        decorator: name of the function of `module` that registers a class; also names such a class in messages.
        module: module of `manticore.modeling` with the table. Embedded code may use the names in it.
        table: the registered classes by name.
    """

    decorator: str
    module: ModuleType
    table: dict[str, Any]

    @property
    def file(self) -> str:
        """Name of the file in a checkpoint that has this table."""
        return f"{self.module.__name__.rpartition('.')[2]}.py"


PROJECTOR = RuntimeTable("projector", projectors, projectors.PROJECTORS)
HEAD = RuntimeTable("head", heads, heads.HEADS)
TOPOLOGY = RuntimeTable("topology", wiring, wiring.TOPOLOGIES)
OP = RuntimeTable("op", ops, ops.OPS)
COMPONENT_MODEL = RuntimeTable("component_model", component_models, component_models.COMPONENT_MODELS)


def check_exportable(
    projector: str,
    topology: str,
    head: str | None = None,
    space_ops: Sequence[Op] = (),
    configs: Iterable[PretrainedConfig] = (),
) -> None:
    """Check that the source of these classes can be embedded in checkpoints.

    Args:
        projector, topology: names of the classes.
        head: kind of the task; `lm` is no head type.
        space_ops: ops of the search space, with their code.
        configs: configurations of the components.

    Raises ManticoreError if a source is not available, or uses names that a checkpoint does not have.
    """
    for registry, names in _used(projector, topology, head, map(factory_name, space_ops)):
        custom_source(registry, *names)
    component_source(configs)


def embed_custom_code(folder: Path, config: HybridConfig) -> None:
    """Append the user's own classes that a hybrid uses to the modules in its checkpoint. Raises ManticoreError."""
    factories = [record["factory"] for record in config.ops.values()]
    sources = {
        registry.file: custom_source(registry, *names)
        for registry, names in _used(config.projector["kind"], config.topology, config.head, factories)
    }
    sources[COMPONENT_MODEL.file] = component_source(map(config.component_config, config.components))
    for name, source in sources.items():
        if source:
            write_text(folder / name, f"{(folder / name).read_text(encoding='utf-8')}\n\n{source}\n")


def _used(
    projector: str, topology: str, head: str | None, factories: Iterable[str]
) -> Iterator[tuple[RuntimeTable, list[str]]]:
    yield PROJECTOR, [projector]
    yield TOPOLOGY, [topology]
    yield OP, list(factories)
    if head is not None and head != "lm":
        yield HEAD, [head]


def custom_source(registry: RuntimeTable, *names: str) -> str:
    """The source of the classes `names` to embed in a checkpoint; empty for built-in classes.

    Raises ManticoreError if a source is not available, or if it uses names that a checkpoint does not have.
    """
    targets = {}
    for name in dict.fromkeys(names):
        if name not in registry.table:
            raise UnknownName("kind of task" if registry is HEAD else registry.decorator, name, registry.table)
        target = registry.table[name]
        if target.__module__ != registry.module.__name__:
            targets[f"{registry.decorator} '{name}'"] = target, f"{registry.decorator}({name!r})"
    return _source(registry.module, targets)


def component_source(configs: Iterable[PretrainedConfig]) -> str:
    """The source of configuration and backbone classes that transformers does not have; empty if it has all.

    Raises ManticoreError as `custom_source` does.
    """
    targets = {}
    for config in configs:
        config_class, model_class = type(config), AutoModel._model_mapping[type(config)]
        if config_class in TWIN_CONFIGS.values():  # a checkpoint has their file
            continue
        if any(_root(part) != "transformers" for part in (config_class, model_class)):
            decorator = f"component_model({config_class.model_type!r}, {config_class.__name__})"
            targets[f"component model '{config_class.model_type}'"] = model_class, decorator
    return _source(COMPONENT_MODEL.module, targets)


def _source(module: ModuleType, targets: Mapping[str, tuple[Any, str]]) -> str:
    """The source of classes with what they need.

    Args:
        module: module of a checkpoint that they are appended to.
        targets: by their name in messages, each class and its decorator.
    """
    decorators = {id(target): ast.parse(decorator, mode="eval").body for target, decorator in targets.values()}
    collection = _Collection(module, decorators)
    for label, (target, _) in targets.items():
        collection.add(target, target.__name__, label)
    return "\n\n\n".join(collection.pieces.values())


@dataclass
class _Collection:
    """Pieces of source, each after what it uses itself.

    Attributes:
        module: module of a checkpoint that they are appended to.
        decorators: by id of the class or function that gets it.
        pieces: source by the name that it binds.
    """

    module: ModuleType
    decorators: Mapping[int, ast.expr]
    pieces: dict[str, str] = field(default_factory=dict)
    started: set[int] = field(default_factory=set)

    def add(self, target: Any, name: str, label: str) -> None:
        """Add a class or function that its module calls `name`, with all that it uses. Raises ManticoreError."""
        if name in vars(self.module):
            raise ManticoreError(f"{label} needs '{name}', a name in {self.module.__name__}; choose another name")
        decorator = self.decorators.get(id(target))
        if _root(target) in RUNTIME:  # a class of torch, say, as it is
            assert decorator is not None
            self._keep(name, f"from {target.__module__} import {target.__name__}", label)
            self._keep(f"@{name}", f"{ast.unparse(decorator)}({name})", label)
            return
        if id(target) in self.started:
            return
        self.started.add(id(target))
        definition = _parse(target, label)
        if decorator is not None:
            definition.decorator_list = []
        needed = _outside_names(definition)
        if decorator is not None:
            definition.decorator_list = [decorator]
            needed |= {node.id for node in ast.walk(decorator) if isinstance(node, ast.Name)} - set(vars(self.module))
        self._add_needed(needed, sys.modules[target.__module__], label)
        self._keep(target.__name__, ast.unparse(definition), label)
        if name != target.__name__:
            self._keep(name, f"{name} = {target.__name__}", label)

    def _add_needed(self, names: set[str], own_module: ModuleType, label: str) -> None:
        """Add what definitions in `own_module` read by these names."""
        for name in sorted(names - set(dir(builtins))):
            used = vars(own_module).get(name)
            known = vars(self.module).get(name)
            if name in vars(self.module) and (used is None or used is known):
                continue
            if (inspect.isclass(used) or inspect.isfunction(used)) and used.__module__ == own_module.__name__:
                self.add(used, name, label)
            elif name not in vars(self.module) and (statement := _import_of(name, used)):
                self._keep(name, statement, label)
            elif name not in vars(self.module) and (assignment := _assignment_of(name, own_module)):
                self._add_needed(_outside_names(assignment), own_module, label)
                self._keep(name, ast.unparse(assignment), label)
            else:
                raise ManticoreError(
                    f"{label} uses '{name}', which an exported checkpoint does not have; it may use the names in "
                    f"{self.module.__name__}, classes, functions and assignments of its own file, and imports of "
                    "torch, transformers and the standard library: put the rest into its file"
                )

    def _keep(self, name: str, text: str, label: str) -> None:
        if self.pieces.setdefault(name, text) != text:
            raise ManticoreError(f"{label} needs '{name}', of which this hybrid has another one; rename one of the two")


def _root(target: Any) -> str:
    return str(target.__module__).partition(".")[0]


def _import_of(name: str, value: Any) -> str:
    """The statement that imports `value` as `name`, if it is of torch, transformers or the standard library."""
    if isinstance(value, ModuleType):
        path, alias = value.__name__, "" if value.__name__ == name else f" as {name}"
        return f"import {path}{alias}" if path.partition(".")[0] in RUNTIME else ""
    module, attribute = getattr(value, "__module__", None), getattr(value, "__name__", None)
    if not isinstance(module, str) or module.partition(".")[0] not in RUNTIME or not isinstance(attribute, str):
        return ""
    if getattr(sys.modules.get(module), attribute, None) is not value:
        return ""
    return f"from {module} import {attribute}" + ("" if attribute == name else f" as {name}")


def _assignment_of(name: str, module: ModuleType) -> ast.Assign | None:
    """The only assignment to `name` at the top level of a module; None if there is none, or no source."""
    try:
        statements = ast.parse(inspect.getsource(module)).body
    except (OSError, TypeError, SyntaxError):
        return None
    assignments = [
        statement
        for statement in statements
        if isinstance(statement, ast.Assign)
        and len(statement.targets) == 1
        and isinstance(statement.targets[0], ast.Name)
        and statement.targets[0].id == name
    ]
    return assignments[0] if len(assignments) == 1 else None


def _parse(target: Any, label: str) -> Definition:
    try:
        definition = ast.parse(textwrap.dedent(inspect.getsource(target))).body[0]
    except (OSError, TypeError):
        in_cell = _class_in_cell(target)
        if in_cell is None:
            raise ManticoreError(
                f"the source of {label} cannot be found; define it in a file or a notebook cell"
            ) from None
        definition = in_cell
    assert isinstance(definition, Definition)
    return definition


def _class_in_cell(target: Any) -> ast.ClassDef | None:
    """The definition of a class in a notebook cell, by the cell of one of its methods; None if it has none.

    Before Python 3.13, `inspect` looks for classes in the file of their module, which the module of a notebook lacks.
    """
    for member in vars(target).values():
        code = getattr(inspect.unwrap(member) if callable(member) else member, "__code__", None)
        if code is None:
            continue
        tree = ast.parse("".join(linecache.getlines(code.co_filename)))
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == target.__name__]
        if classes:
            return classes[-1]
    return None


def _outside_names(node: Definition | ast.Assign) -> set[str]:
    """Names that a statement reads and does not define. Annotations are left out: they are not evaluated."""
    read: set[str] = set()
    defined = {"__class__"}
    nodes = list(ast.walk(node))
    hints = [getattr(part, key, None) for part in nodes for key in ("annotation", "returns")]
    annotations = {id(inner) for hint in hints if hint is not None for inner in ast.walk(hint)}
    for part in nodes:
        if id(part) in annotations:
            continue
        if isinstance(part, ast.Name):
            (read if isinstance(part.ctx, ast.Load) else defined).add(part.id)
        elif isinstance(part, ast.arg):
            defined.add(part.arg)
        elif isinstance(part, ast.FunctionDef | ast.ClassDef):
            defined.add(part.name)
        elif isinstance(part, ast.alias):
            defined.add(part.asname or part.name.partition(".")[0])
        elif isinstance(part, ast.ExceptHandler) and part.name is not None:
            defined.add(part.name)
    return read - defined
