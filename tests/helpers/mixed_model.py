"""A small model of a user's own, with a layer that mixes attention, Mamba and convolution, and one that mixes two."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer

import manticore as mc
from tests.helpers.pico import VOCAB
from tests.helpers.search_module import LABELS

WIDTH = 16
LAYERS = [("attention", "mamba", "convolution"), ("mamba", "attention")]


class Attention(nn.MultiheadAttention):
    """Causal self-attention, which returns a tuple, as torch's does."""

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__(width, 2, dropout=dropout, batch_first=True)

    def forward(self, x_BLD: Tensor) -> tuple[Tensor, Tensor | None]:  # type: ignore[override]
        mask_LL = nn.Transformer.generate_square_subsequent_mask(x_BLD.shape[1])
        return super().forward(x_BLD, x_BLD, x_BLD, attn_mask=mask_LL)


class Convolution(nn.Conv1d):
    """Depthwise and causal."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width, 3, groups=width)

    def forward(self, x_BLD: Tensor) -> Tensor:
        return super().forward(F.pad(x_BLD.mT, (2, 0))).mT


def mamba(width: int) -> nn.Module:
    """A Mamba mixer of half the width between projectors."""
    return mc.nn.Projected(MambaMixer(MambaConfig(hidden_size=width // 2, state_size=4), 0), width, width // 2)


OPS = {"attention": Attention, "mamba": mamba, "convolution": Convolution}


class Classifier(nn.Module):
    """Ids (B, L) to logits (B, labels); `layers` names the candidates of each layer."""

    def __init__(self, layers: list[tuple[str, ...]] = LAYERS, relaxation: str = "softmax", dropout: float = 0.0):
        super().__init__()
        self.embedding = nn.Embedding(VOCAB, WIDTH)
        self.mixers = nn.ModuleList(
            mc.nn.MixedOp({name: OPS[name] for name in names}, WIDTH, relaxation) for names in layers
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(WIDTH, LABELS)

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        h_BLD = self.embedding(input_ids)
        for mixer in self.mixers:
            h_BLD = h_BLD + self.dropout(mixer(h_BLD))
        logits: Tensor = self.head(h_BLD.mean(1))
        return logits


def classifier(**options: object) -> Classifier:
    """A classifier with weights of its own seed and alphas that are not uniform."""
    torch.manual_seed(3)
    model = Classifier(**options)  # type: ignore[arg-type]
    with torch.no_grad():
        for alpha in mc.alphas(model):
            alpha.copy_(torch.linspace(0.4, -0.3, len(alpha)))
    return model
