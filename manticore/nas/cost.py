"""Costs of a path: parameters and floating-point operations per token, counted from the built modules.

A multiply-add counts as two operations. Matrix products and convolutions are counted by their weights; attention adds
`4 * D * span` for each layer (scores and values; span is the mean number of visible tokens), the selective scan
`9 * inner * state` for each layer (discretize, update, read). Of an op the Linear and Conv1d modules are counted, and
what its own method `mixing_flops(length)` returns, if it has one. A head that runs once or twice for a sequence is
shared among its tokens. Norms, activations and embedding look-ups are left out. The gradients of a matrix product are
two more of its size: one for its input, one for its weights.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from manticore.adapters.attach import trained_parameters
from manticore.modeling.heads import Head
from manticore.modeling.ops import OpBranch
from manticore.modeling.segments import Segment
from manticore.nas.baselines import Backbone
from manticore.nas.routed_projectors import Routing
from manticore.nas.searchable import MixedOpModel, alphas
from manticore.nas.supernet import Supernet


def parameters(module: nn.Module) -> int:
    """Number of parameters, shared ones counted once. Those of adapters, which are merged, are left out."""
    return sum(parameter.numel() for parameter in module.parameters()) - trained_parameters(module)


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
        elif isinstance(part, Segment | Backbone | OpBranch):
            total += part.mixing_flops(length)
    return total


def branch_costs(supernet: Supernet, length: int) -> tuple[list[list[float]], list[list[float]]]:
    """Parameters and operations per token of every candidate at every stage, each (S, K); infinite where it is none."""
    modules = [
        [_path_modules(supernet, stage, name) if name in names else None for name in supernet.candidates]
        for stage, names in enumerate(map(supernet.choices.names, range(supernet.space.stages)))
    ]
    return (
        [[math.inf if module is None else float(path_parameters(module)) for module in row] for row in modules],
        [[math.inf if module is None else flops(module, length) for module in row] for row in modules],
    )


def _path_modules(supernet: Supernet, stage: int, name: str) -> nn.Module:
    return nn.ModuleList(supernet.topology.path_modules(supernet, stage, name))


def fixed_costs(supernet: Supernet, length: int) -> tuple[float, float]:
    """Parameters and operations per token that every path has."""
    modules = supernet.topology.fixed_modules(supernet)
    return float(parameters(nn.ModuleList(modules))), sum(flops(part, length) for part in modules)


class PathCosts:
    """Parameters and operations per token of any path of a supernet, on sequences of `length` tokens."""

    def __init__(self, supernet: Supernet, length: int) -> None:
        self._candidates = supernet.candidates
        self._parameters, self._flops = branch_costs(supernet, length)
        self._fixed_parameters, self._fixed_flops = fixed_costs(supernet, length)
        self._positions = position_costs(supernet)

    def parameters(self, path: Sequence[str]) -> float:
        """Parameters of the hybrid, position tables of donors included."""
        tables = sum(count for name, count in self._positions.items() if name in path)
        return self._fixed_parameters + self._sum(self._parameters, path) + tables

    def flops(self, path: Sequence[str]) -> float:
        """Operations per token of a forward pass of the hybrid."""
        return self._fixed_flops + self._sum(self._flops, path)

    def _sum(self, table_SK: list[list[float]], path: Sequence[str]) -> float:
        return sum(row[self._candidates.index(name)] for row, name in zip(table_SK, path, strict=True))


def position_costs(supernet: Supernet) -> dict[str, int]:
    """Parameters of the position tables by donor. A table counts once, however many stages of a path use it."""
    return {name: parameters(supernet.positions[name]) for name in supernet.topology.shared_positions(supernet)}


class FlopCounter:
    """Operations per token of a forward pass of `net` on sequences of `length` tokens, for the net or one path."""

    def __init__(self, net: nn.Module, length: int) -> None:
        self._whole = flops(net, length)
        self._stages: list[dict[str, float]] | None = None
        if isinstance(net, Supernet):
            self._stages = [dict(zip(net.candidates, row, strict=True)) for row in branch_costs(net, length)[1]]
            self._fixed = fixed_costs(net, length)[1]
        elif isinstance(net, MixedOpModel):
            self._stages = [{name: flops(op, length) for name, op in layer.ops.items()} for layer in net.mixed_ops]
            self._fixed = self._whole - sum(sum(row.values()) for row in self._stages)

    def forward(self, path: Sequence[str] | None = None) -> float:
        """Operations per token of the whole net, or of one path of a network that is searched."""
        if self._stages is None or path is None:
            return self._whole
        return self._fixed + sum(row[choice] for row, choice in zip(self._stages, path, strict=True))


@torch.no_grad()
def cache_bytes(model: PreTrainedModel, length: int) -> int:
    """Bytes of a hybrid's cache after `length` tokens of one sequence, in the type of its weights; measured."""
    backbone: Any = model.base_model
    cache = backbone.new_cache()
    backbone(torch.zeros(1, length, dtype=torch.long, device=model.device), past_key_values=cache)
    return sum(tensor.numel() * tensor.element_size() for layer in cache.layers for tensor in _tensors(vars(layer)))


def _tensors(value: object) -> Iterator[Tensor]:
    """The tensors in nested mappings and lists."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
