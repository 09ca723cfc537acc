"""Bytes of a cache, without running the model on the tokens: the shapes of its tensors come from one token.

Keys and values grow with every token, those of a sliding window w up to its last w - 1 tokens. The state and the
convolution window of a recurrent layer have one size, as has the state of an op; an op without one keeps its inputs.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import nn

from manticore.modeling.cache import state_tensors
from manticore.modeling.ops import OpBranch
from manticore.modeling.segments import Context, Segment


def cache_bytes(module: nn.Module, stream: int, length: int, batch: int = 1, dtype: torch.dtype = torch.float32) -> int:
    """Bytes of the cache of a module after `length` tokens of each of `batch` sequences.

    Args:
        module: with segments and ops; other modules have no cache.
        stream: features D of the residual stream.
        length, batch: of the sequences.
        dtype: type of the weights; a state may have another.
    """
    total = 0
    for part in module.modules():
        if isinstance(part, Segment):
            total += batch * _segment_bytes(part, length, dtype)
        elif isinstance(part, OpBranch) and part.causal:
            total += _op_bytes(part, stream, length, batch, dtype)
    return total


def _op_bytes(branch: OpBranch, stream: int, length: int, batch: int, dtype: torch.dtype) -> int:
    if not branch.stepwise:
        return batch * length * stream * dtype.itemsize
    module: Any = branch.op
    return sum(_bytes(tensor) for tensor in module.init_cache(batch, torch.device("cpu"), dtype).values())


@torch.no_grad()
def _segment_bytes(segment: Segment, length: int, dtype: torch.dtype) -> int:
    """Bytes for one sequence."""
    total = 0
    for layer in _one_token(segment, dtype).layers:
        item: Any = layer
        window = getattr(item, "sliding_window", None)
        tokens = length if window is None else min(length, window - 1)
        pairs = (getattr(item, name, None) for name in ("keys", "values"))
        total += tokens * sum(_bytes(tensor) for tensor in pairs if tensor is not None)
        total += sum(map(_bytes, state_tensors(item)))
    return total


def _one_token(segment: Segment, dtype: torch.dtype) -> Any:
    """The cache of a segment after one token of one sequence, on the meta device: shapes without values."""
    memo: dict[int, Any] = {}
    for parameter in segment.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
    for buffer in segment.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    empty = deepcopy(segment, memo).to(dtype).eval()
    cache = empty.new_cache()
    with torch.device("meta"):
        context = Context(None, torch.zeros(1, 1, dtype=torch.long))
        empty.run_layers(torch.zeros(1, 1, segment.backbone.config.hidden_size, dtype=dtype), context, cache)
    return cache


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()
