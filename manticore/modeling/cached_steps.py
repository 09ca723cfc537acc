"""Corrections of transformers' layers where a step with a cache differs from the same step without one.

- Mamba-2 limits its step sizes to `time_step_limit`, but not for a single token with a cached state.
- Rotary frequencies of type `dynamic` and `longrope` depend on the number of tokens, and keys in a cache keep those of
  an earlier number. `dynamic` frequencies depend on the calls before, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig


@contextmanager
def limited_steps(backbone: Any) -> Iterator[None]:
    """Limit the step sizes of Mamba-2 layers to their `time_step_limit` in a block that runs single tokens.

    The step size is `softplus(dt + dt_bias)`. Softplus increases, so `dt` itself is limited, where it leaves the input
    projection of a mixer, as its last features; Falcon-H1 multiplies them by a factor afterwards, which is positive.
    Other layers do not change.
    """
    with ExitStack() as stack:
        for mixer in (module for module in backbone.modules() if hasattr(module, "time_step_limit")):
            lowest, highest = mixer.time_step_limit
            if lowest > 0 or highest < math.inf:
                bounds = _inverse_softplus(lowest), _inverse_softplus(highest)
                handle = mixer.in_proj.register_forward_hook(partial(_limit_steps, mixer, bounds))
                stack.callback(handle.remove)
        yield


def _limit_steps(mixer: Any, bounds: tuple[float, float], module: nn.Module, args: Any, projected: Tensor) -> Tensor:
    rest, dt = projected.split([projected.shape[-1] - mixer.num_heads, mixer.num_heads], dim=-1)
    factor = mixer.mup_vector.flatten()[-mixer.num_heads :] if hasattr(mixer, "mup_vector") else 1.0
    lowest, highest = (((bound - mixer.dt_bias) / factor).to(dt.dtype) for bound in bounds)
    return torch.cat([rest, dt.maximum(lowest).minimum(highest)], dim=-1)


def _inverse_softplus(y: float) -> float:
    if y <= 0:
        return -math.inf
    return y + math.log(-math.expm1(-y)) if y < math.inf else y


def check_frequencies(config: PretrainedConfig, past: int, position_ids: Tensor) -> None:
    """Check that rotary frequencies are those of the keys in the cache, and of every other call.

    Args:
        config: of the layers.
        past: number of cached tokens.
        position_ids: (1 or B, L), of the new tokens.

    Raises ValueError for a `dynamic` embedding with more tokens than its model was trained on, and for a `longrope`
    embedding with cached tokens where the new ones exceed that number and the cached ones do not.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    for fields in rope.values() if any(isinstance(value, dict) for value in rope.values()) else (rope,):
        _check_rope(fields, config.max_position_embeddings, past, position_ids)


def _check_rope(fields: dict[str, Any], longest: int, past: int, position_ids: Tensor) -> None:
    kind = str(fields.get("rope_type", "default"))
    if "dynamic" not in kind and kind != "longrope":
        return
    tokens = int(position_ids.max()) + 1
    if "dynamic" in kind and tokens > longest:
        raise ValueError(
            f"rotary frequencies of type '{kind}' change beyond {longest} tokens, with every call, and {tokens} were "
            "passed"
        )
    trained = fields.get("original_max_position_embeddings") or longest
    if kind == "longrope" and past and tokens - position_ids.shape[-1] <= trained < tokens:
        raise ValueError(
            f"rotary frequencies of type 'longrope' change beyond {trained} tokens, and those of cached tokens do not: "
            "pass use_cache=False, or all tokens beyond that number in one call"
        )
