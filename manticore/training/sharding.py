"""A training whose processes have a part of every weight each, by torch's FSDP2 (`fully_shard`; arXiv 2304.11277).

A segment is gathered from all processes where it runs, and dropped again; its gradient is summed and cut at once. The
gradient of a weight, and the state of its optimizer, are cut like the weight. Embeddings, projectors and heads are
gathered together, at the start of a pass. Every process has all of the alphas, of scalars, and of weights that several
segments share; their gradients are summed as in a training whose processes have the whole model (`gradient_steps`).

The model that is trained is a copy. At the end its weights are put together in the first process. Checkpoints hold
whole tensors, so they are those of a training in one process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.optim import Optimizer

from manticore.adapters.base import adapted_layers
from manticore.adapters.searched import size_parameters
from manticore.errors import ManticoreError
from manticore.modeling.segments import Segment
from manticore.nas.searchable import alphas
from manticore.utils.parts import part_like, wholes
from manticore.utils.ranks import Ranks

if TYPE_CHECKING:
    from manticore.training.modules import TrainModule

NO_ADAPTERS = "--distributed fsdp does not train adapters, which are small; use --distributed ddp"
"""Message of an error."""

COUNTERS = ("progress", "temperature")
"""Numbers of a net that a training changes."""


class ShardedStrategy(SingleDeviceStrategy):
    """Lightning's strategy of one of several processes, each of which has a part of the weights on its device.

    Every process calls `save_checkpoint` of its Trainer, which gathers all tensors; the first one writes them.

    Args:
        device: the device of this process.
        ranks: the processes.
    """

    def __init__(self, device: torch.device, ranks: Ranks) -> None:
        super().__init__(device)
        self.ranks = ranks
        self._original: nn.Module | None = None

    def model_to_device(self) -> None:
        """Train a sharded copy of the net. A checkpoint was loaded before, and optimizers are built after."""
        module: TrainModule = self.lightning_module  # type: ignore[assignment]
        self._original = module.net
        module.use_net(sharded_copy(module.net, self.root_device, self.ranks))
        super().model_to_device()

    def finish(self, module: TrainModule) -> None:
        """Put the weights together in the first process, and give the module its own net back."""
        if self._original is None:
            return
        net, original = module.net, self._original
        state = wholes(net.state_dict(), self.ranks.is_first)
        if self.ranks.is_first:
            original.load_state_dict(state)
        for name in COUNTERS:
            if hasattr(original, name):
                setattr(original, name, getattr(net, name))
        self.leave(module)

    def leave(self, module: TrainModule) -> None:
        """Give the module its own net back, with the weights that it had."""
        if self._original is not None:
            module.use_net(self._original)
            self._original = None

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """See Lightning; the tensors are whole in the first process and None in others."""
        state: dict[str, Any] = wholes(super().lightning_module_state_dict(), self.ranks.is_first)
        return state

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """See Lightning; the tensors are whole in the first process and None in others."""
        state: dict[str, Any] = wholes(super().optimizer_state(optimizer), self.ranks.is_first)
        return state

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """See Lightning; the checkpoint has whole tensors, of which this process keeps its parts."""
        states = [*map(_own_state, self.optimizers, checkpoint["optimizer_states"])]
        super().load_optimizer_state_dict({**checkpoint, "optimizer_states": states})

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Write a checkpoint, in the first process."""
        if self.ranks.is_first:
            super().save_checkpoint(checkpoint, filepath, storage_options)


def _own_state(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """The part of a whole state of an optimizer that this process has; one tensor at a time is on its device."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    own: dict[int, dict[str, Any]] = {}
    for index, values in state["state"].items():
        shape = parameters[index].shape
        cut = {name: part_like(value, parameters[index]) for name, value in values.items() if _has(value, shape)}
        own[index] = {**values, **cut}
    return {**state, "state": own}


def _has(value: Any, shape: torch.Size) -> bool:
    return isinstance(value, torch.Tensor) and value.shape == shape


def sharded_copy(net: nn.Module, device: torch.device, ranks: Ranks) -> nn.Module:
    """A copy of a model of which this process has a part, on its device. Raises ManticoreError for adapters."""
    if adapted_layers(net):
        raise ManticoreError(NO_ADAPTERS)
    components = [*getattr(net, "components", {}).values()]  # what a supernet was built from
    copy = deepcopy(net, {id(component): component for component in components})
    mesh = init_device_mesh(device.type, (ranks.count,))
    units = _units(copy)
    replicated = _replicated(copy, units)
    for module in (*units, copy):
        fully_shard(module, mesh=mesh, reshard_after_forward=True, ignored_params=replicated)
        assert isinstance(module, FSDPModule)
        module.set_gradient_divide_factor(1.0)  # the losses of the processes are summands of that of the whole batch
        module.set_force_sum_reduction_for_comms(True)
    return copy


def _units(net: nn.Module) -> list[nn.Module]:
    """The modules that are gathered one at a time: segments, or the blocks that a Hugging Face model names."""
    segments: list[nn.Module] = [module for module in net.modules() if isinstance(module, Segment)]
    names = set(getattr(net, "_no_split_modules", None) or ())
    return segments or [module for module in net.modules() if type(module).__name__ in names]


def _replicated(net: nn.Module, units: Sequence[nn.Module]) -> set[nn.Parameter]:
    """The parameters of which every process has all."""
    special = {id(parameter) for parameter in (*alphas(net), *size_parameters(net), getattr(net, "alpha", None))}
    uses = Counter(id(parameter) for unit in units for parameter in unit.parameters())
    inner = {id(module) for unit in units for module in unit.modules()}
    outer = [module for module in net.modules() if id(module) not in inner]
    uses.update({id(parameter) for module in outer for parameter in module.parameters(recurse=False)})
    shared = {key for key, count in uses.items() if count > 1}
    return {p for p in net.parameters() if p.dim() == 0 or id(p) in special | shared}
