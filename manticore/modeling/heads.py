"""The ways a task is answered: from the stream to logits over labels, one class for each. Knows no backbone.

A head first picks what it reads of the stream, (B, L, D), and is then given that, normalized. Supernets and exported
hybrids build the same classes, so both answer alike.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LONGEST_WAVE = 10_000.0


class Head(nn.Module):
    """What all heads share."""

    def start(self) -> None:
        """Draw the first weights of the last map, so small that no label is favoured."""
        raise NotImplementedError

    @staticmethod
    def pick(h_BLD: Tensor, attention_mask: Tensor | None) -> Tensor:
        """What the head reads of the stream: by default the state of each sequence's last token, (B, D)."""
        return last_token(h_BLD, attention_mask)

    @staticmethod
    def runs(length: int) -> float:
        """How often the head runs for each token of a sequence of `length`: by default once at every token."""
        return 1.0


class TokenHead(Head, nn.Linear):
    """One label for each token, told where it stands: (B, L, D) -> (B, L, labels)."""

    def __init__(self, width: int, labels: int) -> None:
        super().__init__(width, labels, bias=False)

    def start(self) -> None:
        """See `Head`."""
        nn.init.normal_(self.weight, std=0.02)

    @staticmethod
    def pick(h_BLD: Tensor, attention_mask: Tensor | None) -> Tensor:
        """See `Head`."""
        return h_BLD

    def forward(self, x: Tensor, length: int = 0) -> Tensor:
        return nn.Linear.forward(self, x)


class ClassificationHead(TokenHead):
    """One label for a sequence: (B, D) -> (B, labels)."""

    @staticmethod
    def pick(h_BLD: Tensor, attention_mask: Tensor | None) -> Tensor:
        """See `Head`."""
        return last_token(h_BLD, attention_mask)

    @staticmethod
    def runs(length: int) -> float:
        """See `Head`."""
        return 1 / length


class AutoencoderHead(Head):
    """A label for each token, all told from the last token's state: (B, D) -> (B, L, labels).

    The decoder of MAD's compression (arXiv 2403.17844): the state and a fixed code of the place go through two layers,
    every place by itself.
    """

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        layers = [nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU()) for _ in range(2)]
        self.decoder = nn.Sequential(*layers, nn.LayerNorm(width))
        self.out = nn.Linear(width, labels)

    def start(self) -> None:
        """See `Head`."""
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)

    def forward(self, x_BD: Tensor, length: int) -> Tensor:
        code_LD = place_codes(length, x_BD.shape[-1], x_BD.device).to(x_BD.dtype)
        logits: Tensor = self.out(self.decoder(x_BD[:, None] + code_LD))
        return logits


class PairHead(Head):
    """One label for two sequences, each read by itself: (2B, D) -> (B, labels), first all first ones, then all second.

    The two states, their product and their difference go through one hidden layer, as in the S4 line of work.
    """

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(4 * width, width)
        self.out = nn.Linear(width, labels)

    def start(self) -> None:
        """See `Head`."""
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)

    @staticmethod
    def runs(length: int) -> float:
        """See `Head`."""
        return 1 / (2 * length)

    def forward(self, x: Tensor, length: int = 0) -> Tensor:
        if len(x) % 2:
            raise ValueError(f"pairs come as two rows each, first all first ones, then all second; got {len(x)} rows")
        one_BD, two_BD = x.chunk(2)
        features = torch.cat([one_BD, two_BD, one_BD * two_BD, one_BD - two_BD], dim=-1)
        logits: Tensor = self.out(nn.functional.gelu(self.hidden(features)))
        return logits


HEADS: dict[str, type[Head]] = {
    "classification": ClassificationHead,
    "tokens": TokenHead,
    "autoencoder": AutoencoderHead,
    "pair": PairHead,
}
"""By the kind of task they answer. Each is called with (width, labels)."""


def last_token(x_BLD: Tensor, attention_mask: Tensor | None) -> Tensor:
    """The state of each sequence's last real token, (B, D), whichever side the padding is on."""
    if attention_mask is None:
        return x_BLD[:, -1]
    place = torch.arange(x_BLD.shape[1], device=x_BLD.device)
    last_B = (attention_mask[:, -x_BLD.shape[1] :] * place).argmax(-1)
    return x_BLD[torch.arange(x_BLD.shape[0], device=x_BLD.device), last_B]


def place_codes(length: int, width: int, device: torch.device) -> Tensor:
    """Fixed codes of the places, (L, D): sines, then cosines, of geometrically longer waves."""
    half = (width + 1) // 2
    waves = LONGEST_WAVE ** (torch.arange(half, device=device) / half)
    angles = torch.arange(length, device=device)[:, None] / waves
    return torch.cat([angles.sin(), angles.cos()], dim=-1)[:, :width]
