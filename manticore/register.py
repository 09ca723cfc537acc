"""Decorators that make a user's own task, family, strategy, relaxation or projector selectable by name.

@manticore.register.task("parity")
def parity(options): ...
"""

from __future__ import annotations

from collections.abc import Callable

from manticore.components.families import families
from manticore.errors import ManticoreError
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

    Its source goes into exported checkpoints, so it may use torch, nn, F and Tensor, and nothing else from outside.
    """

    def enter(kind: type) -> type:
        held = PROJECTORS.get(name)
        if held is not None and held.__qualname__ != kind.__qualname__:
            raise ManticoreError(f"projector '{name}' is already registered; choose another name.")
        entered: type = _projector(name)(kind)
        return entered

    return enter
