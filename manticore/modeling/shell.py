"""What is left of a component's backbone without its layers: its embedding. Knows no stages."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import PretrainedConfig

from .segments import slice_config


class Embedding(nn.Module):
    """Token embedding (B, L) -> (B, L, D_k), with home's absolute positions and dropout where the family has them."""

    def __init__(self, tokens: nn.Embedding, dropout: nn.Module) -> None:
        super().__init__()
        self.tokens = tokens
        self.dropout = dropout

    def forward(self, input_ids: Tensor, positions: Tensor | None) -> Tensor:
        x_BLD = self.tokens(input_ids)
        out: Tensor = self.dropout(x_BLD if positions is None else x_BLD + positions)
        return out


def shell_config(config: PretrainedConfig, vocab_size: int) -> PretrainedConfig:
    """A component's configuration without layers: what is left of its backbone is embedding, positions and norm."""
    shell = slice_config(config, 0, 0)
    shell.vocab_size = vocab_size
    return shell
