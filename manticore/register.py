"""Decorators that make a user's own parts selectable by name, in recipes, on the command line and from Python.

    import manticore as mc

    @mc.register.task("parity")
    def parity(options): ...

Each kind is also an entry-point group, `manticore.<kind>`, for parts that an installed package provides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from manticore.components.families import families
from manticore.errors import ManticoreError
from manticore.modeling.heads import HEADS
from manticore.modeling.heads import head as _head
from manticore.modeling.ops import OPS
from manticore.modeling.ops import op as _op
from manticore.modeling.projectors import PROJECTORS
from manticore.modeling.projectors import projector as _projector
from manticore.modeling.wiring import TOPOLOGIES
from manticore.modeling.wiring import topology as _topology
from manticore.nas.regularizers import regularizers
from manticore.nas.relaxations import relaxations
from manticore.nas.selection import selectors
from manticore.nas.strategies import strategies
from manticore.nas.topologies import Topology, topologies
from manticore.tasks.task import task_infos, tasks
from manticore.training.metrics import metrics

task = tasks.register
"""A function from `TaskOptions` to a `Task`."""

task_info = task_infos.register
"""A function from `TaskOptions` to a `TaskInfo`, for a task that reads files; `manticore show` prints it."""

family = families.register
"""A `Family`: how models of some Hugging Face model types are cut into stages."""

strategy = strategies.register
"""A subclass of `Strategy`, `TrainingFree` or `PathStrategy` in `manticore.nas.strategies`: what a search trains."""

relaxation = relaxations.register
"""A function from alphas (S, K) and a `RelaxationContext` to mixing weights (S, K) on the simplex."""

regularizer = regularizers.register
"""A function from `search.entropy_weight` and `search.entropy_schedule` to a `Regularizer` of the mixing weights."""

selector = selectors.register
"""A function from a searched supernet and a `SelectionContext` to scores of paths; see `manticore.nas.selection`."""

metric = metrics.register
"""A `Metric`: how a score is computed, which direction is better, and how it is written."""


def projector(name: str) -> Callable[[type], type]:
    """A class `(d_in, d_out, **options) -> nn.Module`.

    Its source is embedded in exported checkpoints. It may use the names in `manticore.modeling.projectors` (torch, nn,
    F and Tensor among them), classes, functions and assignments of its own file, and what that file imports of torch,
    transformers and the standard library.
    """
    return _runtime("projector", PROJECTORS, _projector, name)


def head(name: str) -> Callable[[type], type]:
    """A subclass of `manticore.modeling.heads.Head`, called with `(width, labels)`: a kind of task.

    Its source is embedded in exported checkpoints, and may use the names in `manticore.modeling.heads`.
    """
    return _runtime("head", HEADS, _head, name)


def topology(name: str, search: type[Topology] = Topology) -> Callable[[type], type]:
    """A subclass of `manticore.modeling.wiring.Wiring`: which branch runs a stage.

    Args:
        name: name of the topology.
        search: how candidates of a stage are mixed, and which options the topology supports. Default: branches are
            weighted and summed, the base model provides embedding, stream and head.

    The source of the wiring is embedded in exported checkpoints, and may use the names in `manticore.modeling.wiring`.
    """
    register_wiring = _runtime("topology", TOPOLOGIES, _topology, name)

    def register(wiring: type) -> type:
        register_wiring(wiring)
        topologies.register(name)(search)
        return wiring

    return register


def op(name: str) -> Callable[[Any], Any]:
    """A class or function `(width, **options) -> nn.Module`, selectable as the factory of an `mc.Op`.

    Its source is embedded in exported checkpoints; `manticore.modeling.ops` has the requirements of the module.
    """
    return _runtime("op", OPS, _op, name)


def _runtime(kind: str, table: Mapping[str, Any], decorator: Any, name: str) -> Callable[[type], type]:
    """A decorator of `manticore.modeling` that raises ManticoreError for a name that another class has."""

    def register(target: type) -> type:
        registered = table.get(name)
        if registered is not None and registered.__qualname__ != target.__qualname__:
            raise ManticoreError(f"{kind} '{name}' is already registered; choose another name.")
        registered_class: type = decorator(name)(target)
        return registered_class

    return register
