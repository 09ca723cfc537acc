"""Where the padding of an attention mask is. Masks are (B, past + L): 1 for tokens, 0 for padding.

Left padding precedes all tokens of a sequence. Right padding follows them, where a causal model does not see it.
Interior padding stands between two tokens; attention masks it, and recurrent layers must step over it.

Which of them a mask has is a question to its values, and on a GPU the answer stops the host. Batches are made on the
CPU, so the loader answers it there (`note_padding`), and a forward pass reads only masks without a note.
"""

from __future__ import annotations

import torch
from torch import Tensor

NO_PADDING, RIGHT_PADDING, OTHER_PADDING = "none", "right", "other"
"""Where the padding of a mask is: nowhere, on the right alone, or before some token."""


def note_padding(attention_mask: Tensor, padding: str) -> None:
    """Note on a mask where its padding is, so that no forward pass needs to read it."""
    attention_mask.noted_padding = padding  # type: ignore[attr-defined]


def noted_padding(attention_mask: Tensor) -> str | None:
    """Where the padding of a mask is; None if nothing is noted, and while torch compiles."""
    return None if torch.compiler.is_compiling() else getattr(attention_mask, "noted_padding", None)


def check_mask(attention_mask: Tensor | None, rows: int, length: int) -> None:
    """Raises ValueError unless the mask is None or of shape (rows, length)."""
    if attention_mask is not None and attention_mask.shape != (rows, length):
        shape = tuple(attention_mask.shape)
        raise ValueError(f"attention_mask must be (batch, past + new tokens): here {(rows, length)}, not {shape}")


def needed_mask(attention_mask: Tensor | None) -> Tensor | None:
    """The mask, or None where all padding is on the right, which a causal model does not see."""
    if attention_mask is None:
        return None
    if (noted := noted_padding(attention_mask)) is not None:
        return attention_mask if noted == OTHER_PADDING else None
    token_BL = attention_mask.bool()
    right_padded = token_BL.cummin(-1).values == token_BL  # no token follows the first padding
    return None if bool(right_padded.all()) else attention_mask


def build_position_ids(attention_mask: Tensor | None, past: int, length: int, device: torch.device) -> Tensor:
    """The index of each new token among the tokens of its sequence, padding not counted: (1 or B, L)."""
    if attention_mask is None:
        position_ids = torch.arange(past, past + length, device=device).unsqueeze(0)
        if not torch.compiler.is_compiling():
            position_ids.noted_consecutive = True  # type: ignore[attr-defined]
        return position_ids
    return (attention_mask.long().cumsum(-1) - 1).clamp(min=0)[:, past : past + length]


def has_padding(attention_mask: Tensor | None, past: int) -> bool:
    """Whether padding is among the new tokens, those after the first `past`."""
    if attention_mask is None:
        return False
    if not past and (noted := noted_padding(attention_mask)) is not None:
        return noted != NO_PADDING
    return not bool(attention_mask[:, past:].all())


def has_interior_padding(attention_mask: Tensor | None, past: int, cached: bool) -> bool:
    """Whether padding among the new tokens follows one token of its sequence and precedes another.

    With a cache (`cached`) more tokens may follow in a later call, so padding at the end counts too.
    """
    if attention_mask is None or not has_padding(attention_mask, past):
        return False
    if not past and not cached and noted_padding(attention_mask) == RIGHT_PADDING:
        return False
    token_BL = attention_mask.bool()
    interior_BL = (token_BL.cumsum(-1) > 0) & ~token_BL  # padding after a token
    if not cached:
        interior_BL = interior_BL & (token_BL.flip(-1).cumsum(-1).flip(-1) > 0)  # and before one
    return bool(interior_BL[:, past:].any())
