"""Decorators that make a user's own parts selectable by name, in recipes, on the command line and from Python.

    import manticore as mc

    @mc.register.task("parity")
    def parity(options): ...

Each kind is also an entry-point group, `manticore.<kind>`, for parts that an installed package provides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import nn

from manticore.adapters.base import Adapter
from manticore.adapters.catalog import adapters
from manticore.components.families import Family, families
from manticore.errors import ManticoreError, shown
from manticore.modeling.heads import HEADS, Head
from manticore.modeling.heads import head as _head
from manticore.modeling.ops import OPS
from manticore.modeling.ops import op as _op
from manticore.modeling.projectors import PROJECTORS
from manticore.modeling.projectors import projector as _projector
from manticore.modeling.wiring import TOPOLOGIES, Wiring
from manticore.modeling.wiring import topology as _topology
from manticore.nas.regularizers import regularizers
from manticore.nas.relaxations import relaxations
from manticore.nas.selection import selectors
from manticore.nas.strategies import Strategy, strategies
from manticore.nas.topologies import Topology, topologies
from manticore.tasks.task import task_infos, tasks
from manticore.training.metrics import Metric, metrics
from manticore.utils.registry import Registry

T = TypeVar("T")


def _checked(registry: Registry[T], fits: Callable[[Any], bool], what: str) -> Callable[[str], Callable[[T], T]]:
    """The decorator of a registry that also checks what is registered; `what` says what it must be."""

    def register(name: str) -> Callable[[T], T]:
        _check_name(registry.kind, name)

        def add(item: T) -> T:
            _check_item(registry.kind, name, item, fits, what)
            return registry.register(name)(item)

        return add

    return register


def _check_name(kind: str, name: object) -> None:
    if not isinstance(name, str) or not name:
        raise ManticoreError(f'mc.register.{kind} takes a name, as in @mc.register.{kind}("mine"), not {shown(name)}')


def _check_item(kind: str, name: str, item: object, fits: Callable[[Any], bool], what: str) -> None:
    if not fits(item):
        raise ManticoreError(f"{kind} '{name}' must be {what}, not {shown(item)}")


def _subclass(*kinds: type) -> Callable[[Any], bool]:
    """Whether an object is a subclass of one of the classes."""
    return lambda item: isinstance(item, type) and issubclass(item, kinds)


task = _checked(tasks, callable, "a function from TaskOptions to a Task")
"""A function from `TaskOptions` to a `Task`."""

task_info = _checked(task_infos, callable, "a function from TaskOptions to a TaskInfo")
"""A function from `TaskOptions` to a `TaskInfo`, for a task that reads files; `manticore show` prints it."""

family = _checked(families, lambda item: isinstance(item, Family), "a Family")
"""A `Family`: how models of some Hugging Face model types are cut into stages."""

strategy = _checked(strategies, _subclass(Strategy), "a subclass of manticore.nas.strategies.Strategy")
"""A subclass of `Strategy`, `TrainingFree` or `PathStrategy` in `manticore.nas.strategies`: what a search trains."""

relaxation = _checked(relaxations, callable, "a function from alphas and a RelaxationContext to mixing weights")
"""A function from alphas (S, K) and a `RelaxationContext` to mixing weights (S, K) on the simplex."""

regularizer = _checked(regularizers, callable, "a function from a weight and a schedule to a Regularizer")
"""A function from `search.entropy_weight` and `search.entropy_schedule` to a `Regularizer` of the mixing weights."""

selector = _checked(selectors, callable, "a function from a supernet and a SelectionContext to scores of paths")
"""A function from a searched supernet and a `SelectionContext` to scores of paths; see `manticore.nas.selection`."""

metric = _checked(metrics, lambda item: isinstance(item, Metric), "a Metric")
"""A `Metric`: how a score is computed, which direction is better, and how it is written."""

adapter = _checked(adapters, _subclass(Adapter), "a subclass of manticore.adapters.base.Adapter")
"""A subclass of `Adapter` with a class `Options`: how a frozen weight is changed in training (`--adapter`)."""


def projector(name: str) -> Callable[[type], type]:
    """A class `(d_in, d_out, **options) -> nn.Module`.

    Its source is embedded in exported checkpoints. It may use the names in `manticore.modeling.projectors` (torch, nn,
    F and Tensor among them), classes, functions and assignments of its own file, and what that file imports of torch,
    transformers and the standard library.
    """
    return _runtime("projector", PROJECTORS, _projector, name, _subclass(nn.Module), "a subclass of nn.Module")


def head(name: str) -> Callable[[type], type]:
    """A subclass of `manticore.modeling.heads.Head`, called with `(width, labels)`: a kind of task.

    Its source is embedded in exported checkpoints, and may use the names in `manticore.modeling.heads`.
    """
    return _runtime("head", HEADS, _head, name, _subclass(Head), "a subclass of manticore.modeling.heads.Head")


def topology(name: str, search: type[Topology] = Topology) -> Callable[[type], type]:
    """A subclass of `manticore.modeling.wiring.Wiring`: which branch runs a stage.

    Args:
        name: name of the topology.
        search: how candidates of a stage are mixed, and which options the topology supports. Default: branches are
            weighted and summed, the base model provides embedding, stream and head.

    The source of the wiring is embedded in exported checkpoints, and may use the names in `manticore.modeling.wiring`.
    """
    what = "a subclass of manticore.modeling.wiring.Wiring"
    register_wiring = _runtime("topology", TOPOLOGIES, _topology, name, _subclass(Wiring), what)

    def register(wiring: type) -> type:
        register_wiring(wiring)
        topologies.register(name)(search)
        return wiring

    return register


def op(name: str) -> Callable[[Any], Any]:
    """A class or function `(width, **options) -> nn.Module`, selectable as the factory of an `mc.Op`.

    Its source is embedded in exported checkpoints; `manticore.modeling.ops` has the requirements of the module.
    """
    return _runtime("op", OPS, _op, name, callable, "a class or function of a width")


def _runtime(
    kind: str, table: Mapping[str, Any], decorator: Any, name: str, fits: Callable[[Any], bool], what: str
) -> Callable[[type], type]:
    """A decorator of `manticore.modeling` that raises ManticoreError for a name that another class has."""
    _check_name(kind, name)

    def register(target: type) -> type:
        _check_item(kind, name, target, fits, what)
        registered = table.get(name)
        if registered is not None and registered.__qualname__ != target.__qualname__:
            raise ManticoreError(f"{kind} '{name}' is already registered; choose another name.")
        registered_class: type = decorator(name)(target)
        return registered_class

    return register
