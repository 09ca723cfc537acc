"""Tensors of which every process has a part: the parameters, gradients and optimizer states of a sharded training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def is_part(tensor: Tensor) -> bool:
    """Whether this process has a part of the tensor only."""
    return isinstance(tensor, DTensor)


def own_part(tensor: Tensor) -> Tensor:
    """What this process has of a tensor, which shares its memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def whole(tensor: Tensor) -> Tensor:
    """The whole of a tensor. All processes call this together if each has a part."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def part_like(tensor: Tensor, part: Tensor) -> Tensor:
    """The part of a whole tensor that this process has of `part`, a tensor of the same shape; no message is sent."""
    if not isinstance(part, DTensor) or isinstance(tensor, DTensor):
        return tensor
    parts = distribute_tensor(tensor, part.device_mesh, part.placements, src_data_rank=None)
    own = parts.to_local().clone()  # not a view, which would keep the memory of the whole
    return DTensor.from_local(
        own, part.device_mesh, part.placements, run_check=False, shape=tensor.shape, stride=tensor.stride()
    )


def wholes(state: Any, keep: bool = True) -> Any:
    """A nested state with whole tensors on the CPU; None in place of each if not `keep`. All processes call this."""
    if isinstance(state, Tensor):
        gathered = whole(state)
        return gathered.cpu() if keep else None
    if isinstance(state, dict):
        return {key: wholes(value, keep) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(wholes(value, keep) for value in state)
    return state
