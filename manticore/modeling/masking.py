"""What an attention mask says about padding: where tokens stand, and where padding is in the way. Knows no layers.

Masks are (B, past + L): 1 for tokens, 0 for padding. Padding on the left comes before everything; padding on the right
is behind everything, and a causal model does not see it. Padding between tokens is what recurrences must step over.
"""

from __future__ import annotations

import torch
from torch import Tensor


def check_mask(attention_mask: Tensor | None, rows: int, length: int) -> None:
    """Raises ValueError unless the mask, if there is one, is (rows, length)."""
    if attention_mask is not None and attention_mask.shape != (rows, length):
        given = tuple(attention_mask.shape)
        raise ValueError(f"attention_mask must be (batch, past + new tokens): here {(rows, length)}, not {given}")


def needed_mask(attention_mask: Tensor | None) -> Tensor | None:
    """The mask if padding stands before some token. To a causal model padding on the right is invisible anyway."""
    if attention_mask is None:
        return None
    token_BL = attention_mask.bool()
    return None if bool((token_BL.cummin(-1).values == token_BL).all()) else attention_mask


def build_position_ids(attention_mask: Tensor | None, past: int, length: int, device: torch.device) -> Tensor:
    """The position of each new token among its sequence's own, padding not counted: (1 or B, L)."""
    if attention_mask is None:
        return torch.arange(past, past + length, device=device).unsqueeze(0)
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, past : past + length]


def has_padding(attention_mask: Tensor | None, past: int) -> bool:
    """Whether some new token is padding."""
    return attention_mask is not None and not bool(attention_mask[:, past:].all())


def has_interior_padding(attention_mask: Tensor | None, past: int, remembered: bool) -> bool:
    """Whether some padding among the new tokens stands behind a token and before another of its sequence.

    `remembered`: there is a cache, so more tokens may follow and padding at the end counts as well.
    """
    if attention_mask is None or not has_padding(attention_mask, past):
        return False
    token_BL = attention_mask.bool()
    behind_BL = (token_BL.cumsum(-1) > 0) & ~token_BL
    if not remembered:
        behind_BL = behind_BL & (token_BL.flip(-1).cumsum(-1).flip(-1) > 0)
    return bool(behind_BL[:, past:].any())
