"""Checks of an operation's tensors before a backend receives them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import Tensor

from manticore.errors import ManticoreError


def present_tensors(arguments: Iterable[tuple[str, Any]], optional: Collection[str] = ()) -> dict[str, Tensor]:
    """The arguments that are not None. Raises ManticoreError if one is no tensor, or is None and not `optional`."""
    tensors = {}
    for name, x in arguments:
        if isinstance(x, Tensor):
            tensors[name] = x
        elif x is not None or name not in optional:
            raise ManticoreError(f"'{name}' is {type(x).__name__}; allowed: a torch.Tensor.")
    return tensors


def check_tensors(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], fixed_by: str) -> None:
    """Raise ManticoreError unless each tensor has its shape, a real float dtype and the device of the first.

    `fixed_by` are the arguments that determine the shapes of the others, as they are named in the message.
    """
    first_name, first = next(iter(tensors.items()))
    device = first.device
    for name, x in tensors.items():
        if x.shape != shapes[name]:
            message = f"'{name}' has shape {tuple(x.shape)}; allowed with these {fixed_by}: {shapes[name]}."
            raise ManticoreError(message)
        if not x.is_floating_point():
            raise ManticoreError(f"'{name}' is {x.dtype}; allowed: a real floating-point dtype.")
        if x.device != device:
            raise ManticoreError(f"'{name}' is on {x.device}; allowed: {device}, where '{first_name}' is.")


def count_groups(name: str, x: Tensor, ndim: int, heads: int) -> int:
    """Number of groups of heads, the last axis but one. Raises ManticoreError if it does not divide `heads`."""
    groups = x.shape[-2] if x.ndim == ndim else 0
    if groups == 0 or heads % groups:
        axes = "(batch, length, groups, state)" if ndim == 4 else "(batch, groups, state)"
        message = f"'{name}' has shape {tuple(x.shape)}; allowed: {axes} with groups a divisor of {heads} heads."
        raise ManticoreError(message)
    return groups


def kernel_size(x: Tensor, weight: Tensor) -> int:
    """Kernel size of a depthwise convolution of `x`. Raises ManticoreError where `weight` does not fit `x`."""
    width = x.shape[1]
    if weight.ndim != 2 or weight.shape[0] != width or weight.shape[1] == 0:
        allowed = f"(width, kernel) with width {width} as in 'x'"
        raise ManticoreError(f"'weight' has shape {tuple(weight.shape)}; allowed: {allowed}.")
    return weight.shape[1]
