"""What of transformers' GPT-Neo is replaced, and by what.

Its attention knows only the eager form, with all scores of all queries and keys in memory. Ours needs no mask but the
padding (B, Lk), which takes the place of the (B, 1, Lq, Lk) one wherever that says nothing more: what a user masks by
hand, packed sequences and caches that do not grow keep the large mask, and with it transformers' own attention.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from manticore.errors import ManticoreError
from manticore.kernels.attention import causal_attention
from manticore.kernels.hf_patches.patch import Patch, watched

Function = Callable[..., Any]

_PLAIN = "eager"
"""The attention of transformers that ours stands in for, as a configuration calls it."""

_PARTS = ("_split_heads", "_merge_heads", "_attn")
"""What ours calls of a layer, beside its projections."""


def _readable(x: Tensor) -> bool:
    """Whether the values of `x` may decide what is done next: not while traced, faked or captured."""
    if watched() or type(x) is not Tensor or x.is_meta:
        return False
    return not (x.is_cuda and torch.cuda.is_current_stream_capturing())


def _keys(queries: int, cache: Any) -> int | None:
    """How many keys each layer will hold after `queries` more; None for a cache that does not simply grow."""
    if cache is None:
        return queries
    if getattr(cache, "is_compileable", True) or any(cache.is_sliding):
        return None
    before = cache.get_query_offset(0)
    return before + queries if cache.get_mask_sizes(queries, 0) == (before + queries, 0) else None


def _padding(inputs: Tensor, mask: Any, cache: Any, position_ids: Tensor | None) -> tuple[bool, Tensor | None]:
    """Whether causality and padding are all there is to mask, and the padding (B, Lk), None where there is none."""
    keys = _keys(inputs.shape[1], cache)
    if keys is None or not _readable(inputs):
        return False, None
    if mask is None:
        packed = cache is None and position_ids is not None and bool((position_ids.diff(dim=-1) != 1).any())
        return not packed, None
    if not isinstance(mask, Tensor) or mask.ndim != 2 or len(mask) != len(inputs):
        return False, None
    if cache is None and mask.shape[1] != keys:
        return False, None
    kept_BK = mask[:, :keys].to(inputs.device, torch.bool)
    kept_BK = F.pad(kept_BK, (0, keys - kept_BK.shape[1]))
    return True, None if kept_BK.all() else kept_BK


def _masking(original: Function) -> Function:
    """`create_causal_mask`, handing down the padding where that is enough."""

    @wraps(original)
    def create(
        config: Any,
        inputs_embeds: Tensor,
        attention_mask: Any = None,
        past_key_values: Any = None,
        position_ids: Tensor | None = None,
        **options: Any,
    ) -> Any:
        plain = config._attn_implementation == _PLAIN and getattr(config, "is_causal", True)
        if plain and not options:
            enough, padding = _padding(inputs_embeds, attention_mask, past_key_values, position_ids)
            if enough:
                return padding
        given = {"attention_mask": attention_mask, "past_key_values": past_key_values, "position_ids": position_ids}
        return original(config=config, inputs_embeds=inputs_embeds, **given, **options)

    return create


def _large(mask: Tensor | None, queries: int, dtype: torch.dtype) -> Tensor | None:
    """The (B, 1, Lq, Lk) mask transformers would have made of a padding (B, Lk); any other is already one."""
    if mask is None or mask.ndim != 2:
        return mask
    keys = mask.shape[1]
    causal_QK = torch.ones(queries, keys, dtype=torch.bool, device=mask.device).tril(keys - queries)
    seen_B1QK = causal_QK & mask[:, None, None]
    return torch.zeros(seen_B1QK.shape, dtype=dtype, device=mask.device).masked_fill(~seen_B1QK, torch.finfo(dtype).min)


def _attending(plain_class: Any) -> Callable[[Function], Function]:
    """`GPTNeoSelfAttention.forward` by `causal_attention`; whoever asks for the weights gets the original."""

    def replace(original: Function) -> Function:
        @wraps(original)
        def forward(
            self: Any,
            hidden_states: Tensor,
            attention_mask: Tensor | None = None,
            layer_past: Any = None,
            use_cache: bool = False,
            output_attentions: bool = False,
            **options: Any,
        ) -> Any:
            padded = attention_mask is None or attention_mask.ndim == 2
            if output_attentions or not padded or watched() or type(self) is not plain_class:
                mask = _large(attention_mask, hidden_states.shape[1], hidden_states.dtype)
                return original(self, hidden_states, mask, layer_past, use_cache, output_attentions, **options)
            projected = (project(hidden_states) for project in (self.q_proj, self.k_proj, self.v_proj))
            q, k, v = (self._split_heads(x, self.num_heads, self.head_dim) for x in projected)
            if layer_past is not None:
                k, v = layer_past.update(k, v, self.layer_id)
            out = self.out_proj(
                self._merge_heads(_attended(self, q, k, v, attention_mask), self.num_heads, self.head_dim)
            )
            return self.resid_dropout(out), None

        return forward

    return replace


def _attended(layer: Any, q: Tensor, k: Tensor, v: Tensor, padding: Tensor | None) -> Tensor:
    """(B, H, Lq, d); by the layer's own means where a cache gave back what torch's kernels cannot mix."""
    if not (q.dtype == k.dtype == v.dtype) or (padding is not None and padding.shape[1] != k.shape[2]):
        eager: Tensor = layer._attn(q, k, v, _large(padding, q.shape[2], q.dtype))[0]
        return eager
    window = layer.config.window_size if layer.attention_type == "local" else None
    dropout = layer.attn_dropout.p if layer.attn_dropout.training else 0.0
    return causal_attention(q, k, v, window, padding, scale=1.0, dropout=dropout)


def _activating(original: Function) -> Function:
    """`gelu_new` in one pass: torch's own, where transformers takes a pass for each operation."""

    @wraps(original)
    def forward(self: Any, input: Tensor) -> Tensor:
        out: Tensor = original(self, input) if watched() else F.gelu(input, approximate="tanh")
        return out

    return forward


def patches() -> list[Patch]:
    """All that is replaced, GPT-2's activation with it. Raises ManticoreError where what ours stands on is gone."""
    module = import_module("transformers.models.gpt_neo.modeling_gpt_neo")
    attention = getattr(module, "GPTNeoSelfAttention", None)
    for owner, name in [(module, "GPTNeoSelfAttention"), *((attention, part) for part in _PARTS)]:
        if not hasattr(owner, name):
            where = getattr(owner, "__qualname__", module.__name__)
            raise ManticoreError(f"transformers' {where} has no '{name}'; allowed: transformers 5.17 to 5.23.")
    activation = import_module("transformers.activations").NewGELUActivation
    return [
        Patch(attention, "forward", _attending(attention)),
        Patch(module, "create_causal_mask", _masking),
        Patch(activation, "forward", _activating),
    ]
