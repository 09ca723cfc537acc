"""Patches of transformers' GPT-Neo.

Its attention has only the eager implementation, which stores the scores of all queries and keys. `causal_attention`
needs no mask except the padding (B, Lk). The padding replaces the (B, 1, Lq, Lk) mask where that contains nothing else:
masks of a user, packed sequences and caches of fixed size keep the full mask and transformers' own attention.
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
from manticore.kernels.hf_patches.patch import Function, Patch, is_captured

_REPLACED_ATTENTION = "eager"
"""The attention implementation that is replaced, as it is called in configurations."""

_METHODS = ("_merge_heads", "_attn")
"""Methods of the attention layer that its replacement calls."""


def _has_readable_values(x: Tensor) -> bool:
    """Whether control flow may depend on values of `x`: not while it is traced, fake, or captured in a CUDA graph."""
    if is_captured() or type(x) is not Tensor or x.is_meta:
        return False
    return not (x.is_cuda and torch.cuda.is_current_stream_capturing())


def _num_keys(queries: int, cache: Any) -> int | None:
    """Number of keys in each layer after `queries` more; None if the cache does not simply grow."""
    if cache is None:
        return queries
    if getattr(cache, "is_compileable", True) or any(cache.is_sliding):
        return None
    past = cache.get_query_offset(0)
    return past + queries if cache.get_mask_sizes(queries, 0) == (past + queries, 0) else None


def _is_consecutive(position_ids: Tensor) -> bool:
    """Whether every position is the previous one plus 1: one document, without gaps."""
    return getattr(position_ids, "noted_consecutive", False) or not bool((position_ids.diff(dim=-1) != 1).any())


def _padding_of(inputs: Tensor, mask: Any, cache: Any, position_ids: Tensor | None) -> tuple[bool, Tensor | None]:
    """Whether only causality and padding mask keys, and the padding (B, Lk), or None if there is none.

    Reading a mask or positions stops the host on a GPU, so notes on them are used where there are some
    (`modeling.masking`).
    """
    if mask is not None and (not isinstance(mask, Tensor) or mask.ndim != 2 or len(mask) != len(inputs)):
        return False, None
    keys = _num_keys(inputs.shape[1], cache)
    if keys is None or not _has_readable_values(inputs):
        return False, None
    if mask is None:
        return cache is not None or position_ids is None or _is_consecutive(position_ids), None
    if cache is None and mask.shape[1] != keys:
        return False, None
    noted = getattr(mask, "noted_padding", None) if mask.shape[1] == keys else None
    if noted == "none":
        return True, None
    is_token_BK = mask[:, :keys].to(inputs.device, torch.bool)
    is_token_BK = F.pad(is_token_BK, (0, keys - is_token_BK.shape[1]))
    return True, None if noted is None and is_token_BK.all() else is_token_BK


def _pass_padding(original: Function) -> Function:
    """`create_causal_mask` that returns the padding where that suffices."""

    @wraps(original)
    def create_causal_mask(
        config: Any,
        inputs_embeds: Tensor,
        attention_mask: Any = None,
        past_key_values: Any = None,
        position_ids: Tensor | None = None,
        **options: Any,
    ) -> Any:
        replaced = config._attn_implementation == _REPLACED_ATTENTION and getattr(config, "is_causal", True)
        if replaced and not options:
            suffices, padding = _padding_of(inputs_embeds, attention_mask, past_key_values, position_ids)
            if suffices:
                return padding
        arguments = {"attention_mask": attention_mask, "past_key_values": past_key_values, "position_ids": position_ids}
        return original(config=config, inputs_embeds=inputs_embeds, **arguments, **options)

    return create_causal_mask


def _full_mask(mask: Tensor | None, queries: int, dtype: torch.dtype) -> Tensor | None:
    """The (B, 1, Lq, Lk) mask that transformers builds from padding (B, Lk); a full mask is returned as it is."""
    if mask is None or mask.ndim != 2:
        return mask
    keys = mask.shape[1]
    causal_QK = torch.ones(queries, keys, dtype=torch.bool, device=mask.device).tril(keys - queries)
    seen_B1QK = causal_QK & mask[:, None, None]
    return torch.zeros(seen_B1QK.shape, dtype=dtype, device=mask.device).masked_fill(~seen_B1QK, torch.finfo(dtype).min)


def _use_causal_attention(attention_class: Any) -> Callable[[Function], Function]:
    """`GPTNeoSelfAttention.forward` with `causal_attention`. The original runs if attention weights are requested."""

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
            is_padding = attention_mask is None or attention_mask.ndim == 2
            if output_attentions or not is_padding or is_captured() or type(self) is not attention_class:
                mask = _full_mask(attention_mask, hidden_states.shape[1], hidden_states.dtype)
                return original(self, hidden_states, mask, layer_past, use_cache, output_attentions, **options)
            # All tokens as rows of one matrix: a linear map of three dimensions would reshape them every time.
            rows, heads = hidden_states.flatten(0, -2), (*hidden_states.shape[:-1], self.num_heads, self.head_dim)
            projections = (projection(rows) for projection in (self.q_proj, self.k_proj, self.v_proj))
            q, k, v = (x.view(heads).permute(0, 2, 1, 3) for x in projections)
            if layer_past is not None:
                k, v = layer_past.update(k, v, self.layer_id)
            out = _attend(self, q, k, v, attention_mask)
            return self.resid_dropout(self.out_proj(self._merge_heads(out, self.num_heads, self.head_dim))), None

        return forward

    return replace


def _attend(layer: Any, q: Tensor, k: Tensor, v: Tensor, padding: Tensor | None) -> Tensor:
    """(B, H, Lq, d). The layer's own attention runs if a cache returned other dtypes or another number of keys."""
    if not (q.dtype == k.dtype == v.dtype) or (padding is not None and padding.shape[1] != k.shape[2]):
        eager: Tensor = layer._attn(q, k, v, _full_mask(padding, q.shape[2], q.dtype))[0]
        return eager
    window = layer.config.window_size if layer.attention_type == "local" else None
    dropout = layer.attn_dropout.p if layer.attn_dropout.training else 0.0
    return causal_attention(q, k, v, window, padding, scale=1.0, dropout=dropout)


def _fuse_gelu(original: Function) -> Function:
    """`gelu_new` as torch's fused function, where transformers runs each of its operations."""

    @wraps(original)
    def forward(self: Any, input: Tensor) -> Tensor:
        out: Tensor = original(self, input) if is_captured() else F.gelu(input, approximate="tanh")
        return out

    return forward


def patches() -> list[Patch]:
    """The patches of GPT-Neo, and of the activation that it shares with GPT-2.

    Raises ManticoreError if transformers lacks a name that the replacements use.
    """
    module = import_module("transformers.models.gpt_neo.modeling_gpt_neo")
    attention = getattr(module, "GPTNeoSelfAttention", None)
    for owner, name in [(module, "GPTNeoSelfAttention"), *((attention, method) for method in _METHODS)]:
        if not hasattr(owner, name):
            owner_name = getattr(owner, "__qualname__", module.__name__)
            raise ManticoreError(f"transformers' {owner_name} has no '{name}'; allowed: transformers 5.17 to 5.23.")
    activation = import_module("transformers.activations").NewGELUActivation
    return [
        Patch(attention, "forward", _use_causal_attention(attention)),
        Patch(module, "create_causal_mask", _pass_padding),
        Patch(activation, "forward", _fuse_gelu),
    ]
