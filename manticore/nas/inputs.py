"""The arguments of a supernet's forward pass: what is no batch of ids, or no mixing weights, is refused in one line.

Notation: B batch, L length.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from manticore.errors import ManticoreError, shown


def check_ids(input_ids: Any, attention_mask: Any) -> None:
    """Raises ManticoreError unless ids are whole numbers (B, L), and the mask is None or a tensor of this shape."""
    if not isinstance(input_ids, Tensor) or input_ids.dim() != 2 or input_ids.is_floating_point():
        raise ManticoreError(f"input_ids is a tensor (B, L) of token ids, not {_described(input_ids)}")
    if attention_mask is None:
        return
    if not isinstance(attention_mask, Tensor) or attention_mask.shape != input_ids.shape:
        shape = tuple(input_ids.shape)
        raise ManticoreError(f"attention_mask has the shape of the ids, {shape}, not {_described(attention_mask)}")


def _described(value: Any) -> str:
    return f"{value.dtype} of shape {tuple(value.shape)}" if isinstance(value, Tensor) else shown(value)


def as_weights(values: Any, alpha: Tensor) -> Tensor | None:
    """Mixing weights as a tensor like the alphas, from a tensor, an array or nested lists; None if there are none.

    Raises ManticoreError for anything else.
    """
    if values is None or isinstance(values, Tensor):
        return values
    try:
        return torch.as_tensor(values, dtype=alpha.dtype, device=alpha.device)
    except (TypeError, ValueError, RuntimeError):
        raise ManticoreError(f"mixing weights are a tensor, an array or lists, not {shown(values)}") from None
