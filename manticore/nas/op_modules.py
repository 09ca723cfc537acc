"""From the ops of a search space to their modules and their entries in a hybrid's configuration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from manticore.errors import ManticoreError
from manticore.modeling.ops import OPS
from manticore.nas.op import Op


def register_ops(ops: Sequence[Op], head_kind: str | None = None) -> dict[str, Op]:
    """The ops by name, with their code, and with their factories in the table of the runtime.

    Args:
        ops: the ops.
        head_kind: kind of the task; None if it is not known.

    Raises ManticoreError if the code of an op has to be imported and is not trusted, if two ops have different
    factories with the same name, or if an op that is not causal is a candidate in a language model.
    """
    loaded = {op.name: op.with_code() for op in ops}
    factories: dict[str, Any] = {}
    for name, op in loaded.items():
        if head_kind == "lm" and not op.causal:
            raise ManticoreError(
                f"op '{name}' is not causal (causal=False), so a language model with it would see the tokens that it "
                "predicts; use it on tasks with labels, or give a causal op"
            )
        key = factory_name(op)
        if factories.setdefault(key, op.factory) is not op.factory:
            raise ManticoreError(f"two ops have different classes of the name {key}; rename one of the classes")
    OPS.update(factories)
    return loaded


def factory_name(op: Op) -> str:
    """The name of an op's class or function in `manticore.modeling.ops.OPS`."""
    return str(op.factory.__name__)


def op_record(op: Op) -> dict[str, Any]:
    """The entry of an op in the configuration of a hybrid. The import path records its origin."""
    return {
        "factory": factory_name(op),
        "options": op.options,
        "causal": op.causal,
        "source": op.import_path,
    }


def build_module(op: Op, width: int) -> nn.Module:
    """A new module of an op. Raises ManticoreError if the factory returns something else."""
    module = op.factory(width, **op.options)
    if not isinstance(module, nn.Module):
        raise ManticoreError(f"the factory of op '{op.name}' returns {type(module).__name__}; it must return nn.Module")
    return module
