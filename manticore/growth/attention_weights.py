"""The maps of a layer's attention, in one form for all families: queries, keys, values and outputs by head.

Notation: H heads of queries, d features of a head, D width. Keys and values of grouped queries (arXiv 2305.13245) are
repeated for each head of queries that reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig


@dataclass(frozen=True)
class AttentionWeights:
    """Weights of attention without its positions, in fp32.

    Attributes:
        query_HdD, key_HdD, value_HdD: the maps from the input of attention.
        query_bias_Hd, key_bias_Hd, value_bias_Hd: their biases; 0 where there are none.
        out_DHd: the map from the heads to the output.
        out_bias_D: its bias, or None.
    """

    query_HdD: Tensor
    key_HdD: Tensor
    value_HdD: Tensor
    query_bias_Hd: Tensor
    key_bias_Hd: Tensor
    value_bias_Hd: Tensor
    out_DHd: Tensor
    out_bias_D: Tensor | None

    @property
    def heads(self) -> int:
        """Number of heads of queries, H."""
        return self.query_HdD.shape[0]

    @property
    def head_width(self) -> int:
        """Features of a head, d."""
        return self.query_HdD.shape[1]

    def channels(self, count: int) -> Tensor:
        """(count,): the channel of attention, of H d, that each of `count` channels of a mixer stands for."""
        return torch.arange(count) % (self.heads * self.head_width)


@torch.no_grad()
def attention_weights(attention: nn.Module, config: PretrainedConfig) -> AttentionWeights:
    """The weights of an attention of Llama, Mistral, Qwen2, Qwen3, GPT-NeoX, GPT-2 or GPT-Neo."""
    module: Any = getattr(attention, "attention", attention)  # GPT-Neo's attention is one module further inside
    heads = int(config.num_attention_heads)
    if hasattr(module, "query_key_value"):  # GPT-NeoX: queries, keys and values of a head are neighbours
        fused = module.query_key_value
        weights = fused.weight.unflatten(0, (heads, 3, -1)).unbind(1)
        biases = (None,) * 3 if fused.bias is None else fused.bias.unflatten(0, (heads, 3, -1)).unbind(1)
        out = module.dense.weight, module.dense.bias
    elif hasattr(module, "c_attn"):  # GPT-2: matrices are (in, out)
        weights = module.c_attn.weight.T.unflatten(0, (3, heads, -1)).unbind(0)
        biases = module.c_attn.bias.unflatten(0, (3, heads, -1)).unbind(0)
        out = module.c_proj.weight.T, module.c_proj.bias
    else:
        parts = (module.q_proj, module.k_proj, module.v_proj)
        width = getattr(module, "head_dim", config.hidden_size // heads)
        weights = tuple(_repeated(part.weight.unflatten(0, (-1, width)), heads) for part in parts)
        biases = tuple(
            None if part.bias is None else _repeated(part.bias.unflatten(0, (-1, width)), heads) for part in parts
        )
        norms = [getattr(module, name).weight for name in ("q_norm", "k_norm") if hasattr(module, name)]
        if norms:  # Qwen3 normalizes queries and keys of each head; their scale is that of the norm
            weights = (weights[0] * norms[0][:, None], weights[1] * norms[1][:, None], weights[2])
        out_module = module.o_proj if hasattr(module, "o_proj") else module.out_proj
        out = out_module.weight, out_module.bias
    query, key, value = (weight.detach().float() for weight in weights)
    zero = torch.zeros(query.shape[:2])
    query_bias, key_bias, value_bias = (zero if bias is None else bias.detach().float() for bias in biases)
    out_DHd = out[0].detach().float().unflatten(1, (heads, -1))
    out_bias = None if out[1] is None else out[1].detach().float()
    return AttentionWeights(query, key, value, query_bias, key_bias, value_bias, out_DHd, out_bias)


def _repeated(x_G: Tensor, heads: int) -> Tensor:
    """Keys or values of each head of queries from those of groups."""
    return x_G.repeat_interleave(heads // x_G.shape[0], dim=0)
