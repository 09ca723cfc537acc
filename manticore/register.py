"""Decorators that make a user's own task, family, strategy, relaxation or projector selectable by name.

@manticore.register.task("parity")
def parity(options): ...
"""

from __future__ import annotations

from collections.abc import Callable

from manticore.components import families
from manticore.errors import ManticoreError
from manticore.mixing import relaxations
from manticore.modeling.projectors import KINDS
from manticore.modeling.projectors import projector as _projector
from manticore.strategies import strategies
from manticore.tasks.base import tasks

task = tasks.register
"""A callable from `TaskOptions` to a `Task`."""

family = families.register
"""A `Family` row."""

strategy = strategies.register
"""A class with `splits` and `step`."""

relaxation = relaxations.register
"""A function (alpha (S, K), temperature) -> weights (S, K) on the simplex."""

_BUILT_IN = frozenset(KINDS)


def projector(name: str) -> Callable[[type], type]:
    """A class `(d_in, d_out, **options) -> nn.Module`.

    Its source goes into exported checkpoints, so it may use torch, nn, F and Tensor, and nothing else from outside.
    """
    if name in _BUILT_IN:
        raise ManticoreError(f"projector '{name}' is built in; choose another name")
    entered: Callable[[type], type] = _projector(name)
    return entered
