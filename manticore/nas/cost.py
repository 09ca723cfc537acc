"""Costs of a path: counted from the built modules, or measured (`latency`). Parameters, bytes, operations, time.

`manticore/nas/resources.py` has the names and units of all resources. A multiply-add counts as two operations. Matrix
products and convolutions are counted by their weights; attention adds `4 * E * span` for each layer (scores and values;
E is the width of all heads, span the mean number of visible tokens), the selective scan `9 * inner * state` for each
layer (discretize, update, read). Of an op the Linear and Conv1d modules are counted, and what its own method
`mixing_flops(length)` returns, if it has one. A head that runs once or twice for a sequence is shared among its tokens.
Norms, activations and embedding look-ups are left out. The gradients of a matrix product are two more of its size: one
for its input, one for its weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from manticore.adapters.base import adapted_layers
from manticore.modeling.heads import Head
from manticore.modeling.ops import OpBranch
from manticore.modeling.segments import Segment
from manticore.nas.baselines import Backbone
from manticore.nas.cache_cost import cache_bytes
from manticore.nas.latency import latency_costs
from manticore.nas.mixing_flops import mixing_flops
from manticore.nas.resources import Resource
from manticore.nas.routed_projectors import Routing
from manticore.nas.searchable import MixedOpModel, alphas
from manticore.nas.supernet import Supernet


def parameters(module: nn.Module) -> int:
    """Number of parameters, shared ones counted once. Those of adapters, which are merged, are left out."""
    merged = {id(parameter) for layer in adapted_layers(module) for parameter in layer.adapter.parameters()}
    return sum(parameter.numel() for parameter in module.parameters() if id(parameter) not in merged)


def path_parameters(module: nn.Module) -> int:
    """Number of parameters of a branch in a discrete hybrid, where what generates projectors is left out."""
    return parameters(module) - sum(parameters(part) for part in module.modules() if isinstance(part, Routing))


def model_parameters(net: nn.Module) -> int:
    """Number of parameters of a model, without the alphas of a search."""
    return parameters(net) - sum(alpha.numel() for alpha in alphas(net))


def flops(module: nn.Module, length: int) -> float:
    """Operations per token of one forward pass on sequences of `length` tokens."""
    total = 0.0
    heads = [part for part in module.modules() if isinstance(part, Head)]
    runs = {id(part): head.calls_per_token(length) for head in heads for part in head.modules()}
    for part in module.modules():
        if isinstance(part, nn.Linear | Conv1D | nn.Conv1d):
            total += 2 * part.weight.numel() * runs.get(id(part), 1)
        elif isinstance(part, Segment):
            total += mixing_flops(part, length)
        elif isinstance(part, Backbone | OpBranch):
            total += part.mixing_flops(length)
    return total


def decode_flops(module: nn.Module, length: int) -> float:
    """Operations of the last of `length` tokens, when the cache has the others.

    What a forward pass on `length` tokens computes more than one on `length - 1`, which is exact for causal modules. An
    op without a state of its own is run again on all tokens.
    """
    if length == 1:
        return flops(module, 1)
    total = length * flops(module, length) - (length - 1) * flops(module, length - 1)
    for part in module.modules():
        if isinstance(part, OpBranch) and not part.stepwise:
            total += (length - 1) * flops(part, length - 1)
    return total


def module_cost(module: nn.Module, resource: Resource, stream: int) -> float:
    """What a branch, a projector or any other module adds to the cost of a hybrid.

    Args:
        module: a module of a supernet or of a hybrid.
        resource: what is counted. `length` must be set where the resource depends on it.
        stream: features of the residual stream.
    """
    if resource.name in ("parameters", "weight_bytes"):
        size = 1 if resource.name == "parameters" else resource.itemsize
        return float(path_parameters(module) * size)
    assert resource.length is not None
    if resource.name == "prefill_flops":
        return flops(module, resource.length)
    if resource.name == "decode_flops":
        return decode_flops(module, resource.length)
    dtype = getattr(torch, resource.dtype)
    return float(cache_bytes(module, stream, resource.length, resource.batch, dtype))


@dataclass(frozen=True)
class CostTable:
    """One resource of all paths: `fixed + sum_s stages[s, z_s] + sum of once[d] over the donors d of the path`.

    Attributes:
        stages: (S, K); infinite for a candidate that a stage does not have.
        fixed: of what every path has.
        once: by index of a candidate, what counts once, however many stages use it: position tables of donors.
        owners: for each candidate the index under which `once` has its cost; empty: its own.
    """

    stages: tuple[tuple[float, ...], ...]
    fixed: float = 0.0
    once: Mapping[int, float] = field(default_factory=dict)
    owners: tuple[int, ...] = ()

    def owner(self, index: int) -> int:
        """The index under which `once` has the cost of a candidate."""
        return self.owners[index] if self.owners else index

    def of(self, chosen: Sequence[int]) -> float:
        """The cost of a path of indices of candidates."""
        stages = sum(row[index] for row, index in zip(self.stages, chosen, strict=True))
        owners = {self.owner(index) for index in chosen}
        return self.fixed + stages + sum(value for index, value in self.once.items() if index in owners)


def cost_table(supernet: Supernet, resource: Resource) -> CostTable:
    """The table of a resource; see `module_cost` and `latency_costs`. The supernet may be on the meta device.

    Raises ManticoreError for a latency that has not been measured on this machine.
    """
    if resource.unit == "ms":
        measured, ends = latency_costs(supernet, resource)
        return CostTable(tuple(map(tuple, measured)), ends)
    topology, stream = supernet.topology, supernet.stream
    stages = []
    for stage in range(supernet.space.stages):
        row = [math.inf] * len(supernet.candidates)
        for name in supernet.choices.names(stage):
            modules = nn.ModuleList(topology.path_modules(supernet, stage, name))
            row[supernet.candidates.index(name)] = module_cost(modules, resource, stream)
        stages.append(tuple(row))
    fixed = nn.ModuleList(topology.fixed_modules(supernet))
    tables = {name: supernet.positions[name] for name in topology.shared_positions(supernet)}
    once = {supernet.candidates.index(name): module_cost(table, resource, stream) for name, table in tables.items()}
    return CostTable(
        tuple(stages), module_cost(fixed, resource, stream), {index: value for index, value in once.items() if value}
    )


class PathCosts:
    """What the paths of a supernet cost.

    Args:
        supernet: the supernet; it may be on the meta device.
        length: tokens of a sequence, for resources that do not set it.
    """

    def __init__(self, supernet: Supernet, length: int) -> None:
        self.supernet, self.length = supernet, length
        self._tables: dict[Resource, CostTable] = {}

    def table(self, resource: Resource) -> CostTable:
        """The table of a resource, computed once."""
        resource = resource.at(self.length)
        if resource not in self._tables:
            self._tables[resource] = cost_table(self.supernet, resource)
        return self._tables[resource]

    def cost(self, path: Sequence[str], resource: Resource) -> float:
        """What the hybrid on a path costs, in the unit of the resource.

        Raises UnknownName or ManticoreError for a path that does not name a candidate for each stage.
        """
        self.supernet.choices.check_names(path)
        return self.table(resource).of([self.supernet.candidates.index(name) for name in path])

    def parameters(self, path: Sequence[str]) -> float:
        """Parameters of the hybrid, position tables of donors included."""
        return self.cost(path, Resource("parameters"))

    def flops(self, path: Sequence[str]) -> float:
        """Operations per token of a forward pass of the hybrid."""
        return self.cost(path, Resource("prefill_flops"))


class FlopCounter:
    """Operations per token of a forward pass of `net` on sequences of `length` tokens, for the net or one path."""

    def __init__(self, net: nn.Module, length: int) -> None:
        self._whole = flops(net, length)
        self._stages: list[dict[str, float]] | None = None
        if isinstance(net, Supernet):
            table = cost_table(net, Resource("prefill_flops", length))
            self._stages = [dict(zip(net.candidates, row, strict=True)) for row in table.stages]
            self._fixed = table.fixed
        elif isinstance(net, MixedOpModel):
            self._stages = [{name: flops(op, length) for name, op in layer.ops.items()} for layer in net.mixed_ops]
            self._fixed = self._whole - sum(sum(row.values()) for row in self._stages)

    def forward(self, path: Sequence[str] | None = None) -> float:
        """Operations per token of the whole net, or of one path of a network that is searched."""
        if self._stages is None or path is None:
            return self._whole
        return self._fixed + sum(row[choice] for row, choice in zip(self._stages, path, strict=True))
