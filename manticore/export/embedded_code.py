"""Runs the code that a checkpoint holds for a user's own parts, in a process that does not have them."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

from transformers import AutoConfig

from manticore.errors import ManticoreError
from manticore.export.custom_code import COMPONENT_MODEL, HEAD, OP, PROJECTOR, TOPOLOGY, RuntimeTable
from manticore.modeling.configuration_manticore import HybridConfig
from manticore.nas.op import TRUST_ADVICE


def register_embedded_code(folder: Path, config: HybridConfig, trust_code: bool) -> None:
    """Register the parts of a hybrid that this process does not have from the code in its folder.

    Args:
        folder: the checkpoint.
        config: its configuration.
        trust_code: run that code.

    Raises ManticoreError if the folder has a part that this process does not have, and its code is not trusted.
    """
    missing: dict[str, list[tuple[RuntimeTable, str]]] = {}
    for registry, name in _missing(config):
        if _holds(folder / registry.file, registry, name):  # otherwise the name is wrong, which loading reports
            missing.setdefault(registry.file, []).append((registry, name))
    for file, parts in missing.items():
        registry, name = parts[0]
        label = f"{folder} has its own {registry.decorator.replace('_', ' ')} '{name}'"
        if not trust_code:
            raise ManticoreError(
                f"{label}, which is not registered here: import the module that registers it, or run its copy in the "
                f"folder: {TRUST_ADVICE}"
            )
        module = _run(folder / file, label)
        for registry, name in parts:
            table = getattr(
                module, next(key for key, value in vars(registry.module).items() if value is registry.table)
            )
            if name not in table:
                raise ManticoreError(f"{label}, but {folder / file} does not hold it")
            registry.table.setdefault(name, table[name])


def _holds(file: Path, registry: RuntimeTable, name: str) -> bool:
    """Whether the code of a checkpoint registers a part."""
    return file.is_file() and f"@{registry.decorator}({name!r}" in file.read_text(encoding="utf-8")


def _missing(config: HybridConfig) -> Iterator[tuple[RuntimeTable, str]]:
    """Every part of a hybrid that is not registered, with its registry."""
    parts = [(PROJECTOR, str(config.projector.get("kind"))), (TOPOLOGY, config.topology)]
    parts += [(OP, str(record.get("factory"))) for record in config.ops.values()]
    parts += [(HEAD, config.head)] if config.head else []
    yield from ((registry, name) for registry, name in parts if name not in registry.table)
    for component in config.components.values():
        model_type = str(component["config"].get("model_type"))
        try:
            AutoConfig.for_model(model_type)
        except ValueError:
            yield COMPONENT_MODEL, model_type


def _run(file: Path, label: str) -> ModuleType:
    """The module of a checkpoint, as one of `manticore.modeling`, whose other modules it imports."""
    name = f"manticore.modeling.{file.stem}_{hashlib.blake2b(file.read_bytes(), digest_size=8).hexdigest()}"
    if name not in sys.modules:
        spec = spec_from_file_location(name, file)
        assert spec is not None and spec.loader is not None  # noqa: PT018
        module = sys.modules[name] = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # the code of a user may raise anything
            del sys.modules[name]
            raise ManticoreError(
                f"{label}, whose code in {file} fails ({' '.join(str(error).split())[:120]})"
            ) from None
    return sys.modules[name]
