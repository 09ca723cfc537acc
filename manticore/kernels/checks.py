"""What every kernel asks of its arguments before any backend sees them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor

from manticore.errors import ManticoreError


def tensors_among(given: Mapping[str, Any], optional: Collection[str]) -> dict[str, Tensor]:
    """The arguments that are there. Raises ManticoreError if one is no tensor, or absent and not `optional`."""
    for name, x in given.items():
        if not (isinstance(x, Tensor) or (x is None and name in optional)):
            raise ManticoreError(f"'{name}' is {type(x).__name__}; allowed: a torch.Tensor.")
    return {name: x for name, x in given.items() if x is not None}


def expect(tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], fixed_by: str) -> None:
    """Raise ManticoreError unless each tensor has its shape, a real float dtype and the device of the first.

    `fixed_by` names the arguments whose shapes the others must fit, as they should be written in a message.
    """
    first, lead = next(iter(tensors.items()))
    for name, x in tensors.items():
        if tuple(x.shape) != shapes[name]:
            message = f"'{name}' has shape {tuple(x.shape)}; allowed with these {fixed_by}: {shapes[name]}."
            raise ManticoreError(message)
        if not x.is_floating_point():
            raise ManticoreError(f"'{name}' is {x.dtype}; allowed: a real floating-point dtype.")
        if x.device != lead.device:
            raise ManticoreError(f"'{name}' is on {x.device}; allowed: {lead.device}, where '{first}' is.")


def grouped(name: str, x: Tensor, ndim: int, heads: int) -> int:
    """How many groups share the heads: the last axis but one. Raises ManticoreError if not a divisor of `heads`."""
    groups = x.shape[-2] if x.ndim == ndim else 0
    if groups == 0 or heads % groups:
        axes = "(batch, length, groups, state)" if ndim == 4 else "(batch, groups, state)"
        message = f"'{name}' has shape {tuple(x.shape)}; allowed: {axes} with groups a divisor of {heads} heads."
        raise ManticoreError(message)
    return groups
