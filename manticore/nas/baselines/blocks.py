"""What hand-designed hybrids are stacked from: attention, Mamba and SwiGLU, each behind a norm and beside the stream.

Mamba and SwiGLU are transformers' own classes; attention is torch's scaled dot product. Every part is causal, so
padding on the right changes nothing before it; only padding on the left is masked.
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
    """One update of the stream: (B, L, D) and the mask (B, L) of real tokens, or None, to (B, L, D).

    Attributes:
        kind: its name in `Backbone.words`.
    """

    kind: str

    def mixing_flops(self, length: int) -> float:
        """Operations per token among tokens or states, beside those of its linear maps and convolutions."""
        return 0.0


class Attention(Part):
    """Causal softmax attention with biases and without dropout.

    Args:
        width: D.
        heads: H; must divide the width.
        rotary: turn queries and keys by rotary positions (arXiv 2104.09864) over all features of a head.

    Raises:
        ManticoreError: the heads do not divide the width, or rotary positions meet heads of odd width.
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
            place_1L = torch.arange(x_BLD.shape[1], device=x_BLD.device)[None]
            q, k = apply_rotary_pos_emb(q, k, *self.rotary(q, place_1L))
        mixed_BHLd = causal_attention(q, k, v, padding=mask_BL, scale=q.shape[-1] ** -0.5)
        out: Tensor = self.out(mixed_BHLd.transpose(1, 2).flatten(2))
        return out

    def mixing_flops(self, length: int) -> float:
        """Scores and values over the `(length + 1) / 2` tokens that a token sees in the mean."""
        return 4.0 * self.width * (length + 1) / 2


class Mamba(Part):
    """transformers' `MambaMixer` with Mamba's own defaults (expansion 2, convolution over 4, no biases).

    Args:
        width: D.
        state: features of the recurrent state for each channel.
        shrink: the weights of the last map are divided by this at the start.
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
        """Discretize, update and read the state."""
        return 9.0 * float(self.mixer.intermediate_size * self.mixer.ssm_state_size)


class SwiGLU(Part):
    """Gated feed-forward layer without biases (arXiv 2002.05202): transformers' `LlamaMLP`.

    Args:
        width: D.
        inner: features inside.
    """

    kind = "swiglu"

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.mlp = LlamaMLP(LlamaConfig(hidden_size=width, intermediate_size=inner, num_attention_heads=1))

    def forward(self, x_BLD: Tensor, mask_BL: Tensor | None) -> Tensor:
        out: Tensor = self.mlp(x_BLD)
        return out


class Backbone(nn.Module):
    """A stack: each part reads the stream through a norm of its own and adds its update; a last norm closes it.

    Args:
        width: D.
        parts: in order.
        norm: makes a norm for a width.
    """

    def __init__(self, width: int, parts: Iterable[Part], norm: type[nn.LayerNorm] | type[nn.RMSNorm]) -> None:
        super().__init__()
        self.width = width
        self.parts = nn.ModuleList(parts)
        self.norms = nn.ModuleList(norm(width, eps=1e-5) for _ in self.parts)
        self.last_norm = norm(width, eps=1e-5)

    def words(self) -> list[str]:
        """The kinds of its parts, first to last."""
        return [part.kind for part in self._parts()]

    def mixing_flops(self, length: int) -> float:
        """Operations per token of attention and scans on sequences of `length`, counted as in `nas.cost`."""
        return math.fsum(part.mixing_flops(length) for part in self._parts())

    def _parts(self) -> list[Part]:
        return [part for part in self.parts if isinstance(part, Part)]

    def forward(self, x_BLD: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """(B, L, D) -> (B, L, D).

        Args:
            attention_mask: (B, L), 1 for tokens and 0 for padding on either side, or None. What comes out at padding
                means nothing.
        """
        mask_BL = attention_mask if _starts_late(attention_mask) else None
        with installed():
            for norm, part in zip(self.norms, self.parts, strict=True):
                x_BLD = x_BLD + part(norm(x_BLD), mask_BL)
        out: Tensor = self.last_norm(x_BLD)
        return out


def _rotary(width: int, heads: int) -> LlamaRotaryEmbedding:
    return LlamaRotaryEmbedding(LlamaConfig(hidden_size=width, num_attention_heads=heads))


def _starts_late(mask_BL: Tensor | None) -> bool:
    """Whether a token comes after padding, which causality alone does not hide from it."""
    return mask_BL is not None and bool((mask_BL[:, 1:] > mask_BL[:, :-1]).any())
