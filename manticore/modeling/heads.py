"""The heads of labelled tasks, from the residual stream to logits over labels: one class for each kind of task.

A head first selects the states that it reads from the stream (B, L, D). The model applies the final norm to these, and
the head maps them to logits. Supernets and exported hybrids build the same classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .registered import find_registered

MAX_WAVELENGTH = 10_000.0
"""Longest wavelength of the position codes, in positions."""


class Head(nn.Module):
    """Base class of all heads. A subclass is called with `(width, labels)`.

    Attributes:
        per_token: every token has a label, so logits are (B, L, labels). Otherwise they are (B, labels).
        sequences: number of sequences that share one label. If 2, a batch has all first sequences, then all second.
    """

    per_token: bool = False
    sequences: int = 1

    def init_output(self) -> None:
        """Draw the weights of the last linear map, small enough that all labels start about equally likely."""
        raise NotImplementedError

    @staticmethod
    def select_states(h_BLD: Tensor, attention_mask: Tensor | None) -> Tensor:
        """The states that the head reads. Default: the last token of each sequence, (B, D)."""
        return last_token(h_BLD, attention_mask)

    @staticmethod
    def calls_per_token(length: int) -> float:
        """Evaluations of the head for each token of sequences of `length` tokens, to count operations. Default: 1."""
        return 1.0

    def forward(self, x: Tensor, length: int) -> Tensor:
        """Logits from the selected and normalized states `x`; `length` is L."""
        raise NotImplementedError


HEADS: dict[str, type[Head]] = {}

HeadClass = TypeVar("HeadClass", bound=type[Head])


def head(name: str) -> Callable[[HeadClass], HeadClass]:
    """Decorator that makes a `Head` selectable as a kind of task."""

    def register(kind: HeadClass) -> HeadClass:
        HEADS[name] = kind
        return kind

    return register


@head("classification")
class ClassificationHead(Head, nn.Linear):
    """One label for a sequence: a linear map of the last token's state, (B, D) -> (B, labels)."""

    def __init__(self, width: int, labels: int) -> None:
        super().__init__(width, labels, bias=False)

    def init_output(self) -> None:
        nn.init.normal_(self.weight, std=0.02)

    @staticmethod
    def calls_per_token(length: int) -> float:
        return 1 / length

    def forward(self, x: Tensor, length: int = 0) -> Tensor:
        return nn.Linear.forward(self, x)


@head("tokens")
class TokenHead(ClassificationHead):
    """One label for each token: a linear map of its own state, (B, L, D) -> (B, L, labels)."""

    per_token = True

    @staticmethod
    def select_states(h_BLD: Tensor, attention_mask: Tensor | None) -> Tensor:
        return h_BLD

    @staticmethod
    def calls_per_token(length: int) -> float:
        return 1.0


@head("autoencoder")
class AutoencoderHead(Head):
    """One label for each token, all decoded from the last token's state: (B, D) -> (B, L, labels).

    The decoder of MAD's compression task (arXiv 2403.17844): for each position, the state plus a fixed code of the
    position goes through two layers.
    """

    per_token = True

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        layers = [nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU()) for _ in range(2)]
        self.decoder = nn.Sequential(*layers, nn.LayerNorm(width))
        self.out = nn.Linear(width, labels)

    def init_output(self) -> None:
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor, length: int) -> Tensor:
        code_LD = position_codes(length, x.shape[-1], x.device).to(x.dtype)
        logits: Tensor = self.out(self.decoder(x[:, None] + code_LD))
        return logits


@head("pair")
class PairHead(Head):
    """One label for a pair of sequences that are read separately: (2B, D) -> (B, labels).

    The two states u and v give the features (u, v, u * v, u - v) of a hidden layer, as in S4 (arXiv 2111.00396).
    """

    sequences = 2

    def __init__(self, width: int, labels: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(4 * width, width)
        self.out = nn.Linear(width, labels)

    def init_output(self) -> None:
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)

    @staticmethod
    def calls_per_token(length: int) -> float:
        return 1 / (2 * length)

    def forward(self, x: Tensor, length: int = 0) -> Tensor:
        if len(x) % 2:
            raise ValueError(
                f"a batch of pairs has two rows for each, first all first sequences, then all second; got {len(x)} rows"
            )
        u_BD, v_BD = x.chunk(2)
        features = torch.cat([u_BD, v_BD, u_BD * v_BD, u_BD - v_BD], dim=-1)
        logits: Tensor = self.out(F.gelu(self.hidden(features)))
        return logits


def build_head(kind: str, width: int, labels: int) -> Head:
    """The head `kind` for a stream of `width` features. Raises ValueError if it is not registered."""
    return head_class(kind)(width, labels)


def head_class(kind: str) -> type[Head]:
    """The class registered as `kind`. Raises ValueError if there is none."""
    return find_registered("head", kind, HEADS)


def last_token(x_BLD: Tensor, attention_mask: Tensor | None) -> Tensor:
    """The state of each sequence's last token that is not padding, (B, D), with padding on either side."""
    if attention_mask is None:
        return x_BLD[:, -1]
    index_L = torch.arange(x_BLD.shape[1], device=x_BLD.device)
    last_B = (attention_mask[:, -x_BLD.shape[1] :] * index_L).argmax(-1)
    return x_BLD[torch.arange(x_BLD.shape[0], device=x_BLD.device), last_B]


def position_codes(length: int, width: int, device: torch.device) -> Tensor:
    """Fixed codes (L, D) of positions l: sin(l / w_i), then cos(l / w_i), with w_i = MAX_WAVELENGTH ** (i / half)."""
    half = (width + 1) // 2
    wavelengths = MAX_WAVELENGTH ** (torch.arange(half, device=device) / half)
    angles = torch.arange(length, device=device)[:, None] / wavelengths
    return torch.cat([angles.sin(), angles.cos()], dim=-1)[:, :width]
