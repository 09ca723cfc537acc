"""Decorators that make a user's own task, family, strategy, relaxation, projector or head selectable by name.

@manticore.register.task("parity")
def parity(options): ...
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from manticore.components.families import families
from manticore.errors import ManticoreError
from manticore.modeling.heads import HEADS
from manticore.modeling.heads import head as _head
from manticore.modeling.projectors import PROJECTORS
from manticore.modeling.projectors import projector as _projector
from manticore.nas.relaxations import relaxations
from manticore.nas.strategies import strategies
from manticore.tasks.task import task_infos, tasks

task = tasks.register
"""A callable from `TaskOptions` to a `Task`."""

sheet = task_infos.register
"""A callable from `TaskOptions` to a `Sheet`, for a task whose own callable reads files: what `show` tells of it."""

family = families.register
"""A `Family` row."""

strategy = strategies.register
"""A class with `splits` and `step`."""

relaxation = relaxations.register
"""A function (alpha (S, K), temperature) -> weights (S, K) on the simplex."""


def projector(name: str) -> Callable[[type], type]:
    """A class `(d_in, d_out, **options) -> nn.Module`.

    Its source is embedded in exported checkpoints. It may use the names in `manticore.modeling.projectors` (torch, nn,
    F and Tensor among them) and classes and functions of its own file.
    """
    return _runtime("projector", PROJECTORS, _projector, name)


def head(name: str) -> Callable[[type], type]:
    """A subclass of `manticore.modeling.heads.Head`, called with `(width, labels)`: a kind of task.

    Its source is embedded in exported checkpoints, and may use the names in `manticore.modeling.heads`.
    """
    return _runtime("head", HEADS, _head, name)


def _runtime(kind: str, table: Mapping[str, type], decorator: Any, name: str) -> Callable[[type], type]:
    """A decorator of `manticore.modeling` that refuses names of other classes."""

    def register(target: type) -> type:
        registered = table.get(name)
        if registered is not None and registered.__qualname__ != target.__qualname__:
            raise ManticoreError(f"{kind} '{name}' is already registered; choose another name.")
        entered: type = decorator(name)(target)
        return entered

    return register
