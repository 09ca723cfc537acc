"""Blocks of hand-designed hybrids: attention, Mamba and SwiGLU, each pre-norm and with a residual connection.

Mamba and SwiGLU are transformers' own classes; attention is torch's scaled dot product. Every block is causal, so
padding on the right changes no earlier output; only padding on the left is masked.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from transformers import LlamaConfig, MambaConfig
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRotaryEmbedding, apply_rotary_pos_emb
from transformers.models.mamba.modeling_mamba import MambaMixer

from manticore.errors import ManticoreError
from manticore.kernels import installed
from manticore.kernels.attention import causal_attention


class Part(nn.Module):
    """One update of the residual stream: (B, L, D) and the mask (B, L) of tokens, or None, to (B, L, D).

    Attributes:
        kind: its name in `Backbone.kinds`.
    """

    kind: str

    def mixing_flops(self, length: int) -> float:
        """Operations per token of attention or of a scan; linear maps and convolutions are counted elsewhere."""
        return 0.0


class Attention(Part):
    """Causal softmax attention with biases and without dropout.

    Args:
        width: D.
        heads: H; must divide the width.
        rotary: apply rotary positions (arXiv 2104.09864) to all features of queries and keys.

    Raises:
        ManticoreError: the heads do not divide the width, or rotary positions are applied to heads of odd width.
    """

    kind = "attention"

    def __init__(self, width: int, heads: int, rotary: bool = False) -> None:
        super().__init__()
        if heads < 1 or width % heads or (rotary and width // heads % 2):
            even = " into parts of even width" if rotary else ""
            raise ManticoreError(f"a width of {width} cannot be shared among {heads} attention heads{even}.")
        self.width, self.heads = width, heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.rotary = _rotary(width, heads) if rotary else None
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x_BLD: Tensor, mask_BL: Tensor | None) -> Tensor:
        q, k, v = self.qkv(x_BLD).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if self.rotary is not None:
            position_1L = torch.arange(x_BLD.shape[1], device=x_BLD.device)[None]
            q, k = apply_rotary_pos_emb(q, k, *self.rotary(q, position_1L))
        mixed_BHLd = causal_attention(q, k, v, padding=mask_BL, scale=q.shape[-1] ** -0.5)
        out: Tensor = self.out(mixed_BHLd.transpose(1, 2).flatten(2))
        return out

    def mixing_flops(self, length: int) -> float:
        """Operations per token for scores and values, with the mean of `(length + 1) / 2` visible tokens."""
        return 4.0 * self.width * (length + 1) / 2


class Mamba(Part):
    """transformers' `MambaMixer` with Mamba's own defaults (expansion 2, convolution over 4, no biases).

    Args:
        width: D.
        state: features of the recurrent state for each channel.
        shrink: divisor of the initial weights of the output projection.
    """

    kind = "mamba"

    def __init__(self, width: int, state: int, shrink: float = 1.0) -> None:
        super().__init__()
        config = MambaConfig(hidden_size=width, state_size=state, num_hidden_layers=1, vocab_size=1)
        self.mixer = MambaMixer(config, layer_idx=0)
        with torch.no_grad():
            self.mixer.out_proj.weight.div_(shrink)

    def forward(self, x_BLD: Tensor, mask_BL: Tensor | None) -> Tensor:
        out: Tensor = self.mixer(x_BLD, attention_mask=mask_BL)
        return out

    def mixing_flops(self, length: int) -> float:
        """Operations per token to discretize, update and read the state."""
        return 9.0 * float(self.mixer.intermediate_size * self.mixer.ssm_state_size)


class SwiGLU(Part):
    """Gated feed-forward layer without biases (arXiv 2002.05202): transformers' `LlamaMLP`.

    Args:
        width: D.
        inner: hidden features.
    """

    kind = "swiglu"

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.mlp = LlamaMLP(LlamaConfig(hidden_size=width, intermediate_size=inner, num_attention_heads=1))

    def forward(self, x_BLD: Tensor, mask_BL: Tensor | None) -> Tensor:
        out: Tensor = self.mlp(x_BLD)
        return out


class Backbone(nn.Module):
    """A stack of blocks: each adds its update of the normalized residual stream; a final norm follows.

    Args:
        width: D.
        parts: blocks, first to last.
        norm: class of the norms.
    """

    def __init__(self, width: int, parts: Iterable[Part], norm: type[nn.LayerNorm] | type[nn.RMSNorm]) -> None:
        super().__init__()
        self.width = width
        self.parts = nn.ModuleList(parts)
        self.norms = nn.ModuleList(norm(width, eps=1e-5) for _ in self.parts)
        self.last_norm = norm(width, eps=1e-5)

    def kinds(self) -> list[str]:
        """Kinds of the blocks, first to last."""
        return [part.kind for part in self._parts()]

    def mixing_flops(self, length: int) -> float:
        """Operations per token of attention and scans on sequences of `length`, counted as in `nas.cost`."""
        return math.fsum(part.mixing_flops(length) for part in self._parts())

    def _parts(self) -> list[Part]:
        return [part for part in self.parts if isinstance(part, Part)]

    def forward(self, x_BLD: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """(B, L, D) -> (B, L, D).

        Args:
            attention_mask: (B, L), 1 for tokens and 0 for padding on either side, or None. Outputs at padding
                are undefined.
        """
        mask_BL = attention_mask if _has_left_padding(attention_mask) else None
        with installed():
            for norm, part in zip(self.norms, self.parts, strict=True):
                x_BLD = x_BLD + part(norm(x_BLD), mask_BL)
        out: Tensor = self.last_norm(x_BLD)
        return out


def _rotary(width: int, heads: int) -> LlamaRotaryEmbedding:
    return LlamaRotaryEmbedding(LlamaConfig(hidden_size=width, num_attention_heads=heads))


def _has_left_padding(mask_BL: Tensor | None) -> bool:
    """Whether some token comes after padding, which causality does not mask."""
    return mask_BL is not None and bool((mask_BL[:, 1:] > mask_BL[:, :-1]).any())
