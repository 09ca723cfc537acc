"""Packed documents: several documents in one row of a batch, each read as if it were alone.

A collator that packs documents marks them by `position_ids` that start again, by `seq_idx`, or by `cu_seq_lens_q`. A
hybrid gives every document a row of its own, so that attention, states, convolutions and ops of every family start
anew with it, and writes the outputs back to the packed batch. Documents of similar lengths run together, so that at
most half of a row is padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .masking import check_mask, has_padding

MARKERS = ("seq_idx", "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")
"""Keyword arguments by which collators mark documents, besides `position_ids`."""


@dataclass(frozen=True)
class DocumentGroup:
    """Documents that run as one batch of N rows, padded on the right to the longest, M tokens.

    Attributes:
        index_NM: index of each token in the flattened batch (B * L); at padding, of some token.
        mask_NM: 1 for tokens, 0 for padding.
        position_ids_NM: positions of the tokens; at padding they continue.
    """

    index_NM: Tensor
    mask_NM: Tensor
    position_ids_NM: Tensor

    def rows(self, inputs: Tensor) -> Tensor:
        """The documents as rows: ids (B, L) -> (N, M), or embeddings (B, L, D) -> (N, M, D)."""
        return inputs.flatten(0, 1)[self.index_NM]


def document_starts(
    inputs: Tensor,
    attention_mask: Tensor | None,
    position_ids: Tensor | None,
    cached: bool,
    markers: dict[str, Any],
) -> Tensor | None:
    """(B, L): True for the first token of every document behind another in its row. None if there is no such document.

    A document starts where `seq_idx` changes, at the boundaries of `cu_seq_lens_q`, and where a position is not the
    previous one plus 1, as in transformers' attention. Positions of tokens with an attention mask or a cache may leave
    some out; there only a position that is not larger than the previous one starts a document.

    Args:
        inputs: ids (B, L), or vectors (B, L, D) of the tokens.
        attention_mask, position_ids: as in `HybridModel.forward`.
        cached: whether there is a cache.
        markers: arguments of the model, of which those in `MARKERS` are read: `seq_idx` is (B, L). `cu_seq_lens_q` is
            (N + 1,), the boundaries of N documents in the flattened batch, and `cu_seq_lens_k` is equal to it.
            `max_length_q` and `max_length_k`, the lengths of the longest document, are not needed.

    Raises ValueError for markers of another shape, and for a second document in a row where there is a cache.
    """
    shape, seq_idx = inputs.shape[:2], markers.get("seq_idx")
    documents_BL = _numbered(shape, markers.get("cu_seq_lens_q"), markers.get("cu_seq_lens_k"))
    if position_ids is None and seq_idx is None and documents_BL is None:
        return None
    if seq_idx is not None and seq_idx.shape != shape:
        raise ValueError(f"seq_idx must have the shape {tuple(shape)}, not {tuple(seq_idx.shape)}")
    if not cached:
        check_mask(attention_mask, *shape)
    if shape[1] == 1:  # as in every cached step of generation
        return None
    token_BL = torch.ones(shape, dtype=torch.bool, device=inputs.device)
    if attention_mask is not None and has_padding(attention_mask, 0):
        token_BL = attention_mask[:, -shape[1] :].bool()
    starts_BL = torch.zeros_like(token_BL)
    if position_ids is not None:
        step_BL = _step(position_ids.expand(shape), token_BL)
        starts_BL |= (step_BL != 1) if attention_mask is None and not cached else (step_BL <= 0)
    for numbers_BL in (seq_idx, documents_BL):
        if numbers_BL is not None:
            starts_BL |= _step(numbers_BL.to(inputs.device), token_BL) != 0
    starts_BL &= token_BL & (token_BL.cumsum(-1) > 1)
    if not bool(starts_BL.any()):
        return None
    if cached:
        raise ValueError("packed documents have no cache: pass use_cache=False, or one document in each row")
    return starts_BL


def _numbered(shape: torch.Size, cu_seq_lens_q: Any, cu_seq_lens_k: Any) -> Tensor | None:
    """(B, L): the number of each token's document. Raises ValueError for boundaries that do not fit the batch."""
    if cu_seq_lens_q is None and cu_seq_lens_k is None:
        return None
    (rows, length), total = shape, shape.numel()
    ends = [] if cu_seq_lens_q is None else torch.as_tensor(cu_seq_lens_q).tolist()
    if cu_seq_lens_k is not None and torch.as_tensor(cu_seq_lens_k).tolist() != ends:
        raise ValueError("cu_seq_lens_k must be equal to cu_seq_lens_q: the keys of a hybrid are its own tokens")
    if ends != sorted(ends) or ends[:1] != [0] or ends[-1:] != [total] or not {*range(0, total, length)} <= {*ends}:
        raise ValueError(f"cu_seq_lens_q must increase from 0 to {total} and have the ends of all {rows} rows: {ends}")
    inner = torch.tensor(sorted({*ends} - {0, total}), dtype=torch.long)
    return torch.zeros(total, dtype=torch.long).index_fill(0, inner, 1).cumsum(0).view(shape)


def _step(x_BL: Tensor, token_BL: Tensor) -> Tensor:
    """Difference between each value and that of the previous token of its row; of no meaning at the first token."""
    index_BL = torch.arange(x_BL.shape[1], device=x_BL.device).expand_as(x_BL)
    latest_BL = index_BL.masked_fill(~token_BL, 0).cummax(-1).values
    return x_BL - x_BL.gather(1, latest_BL).roll(1, dims=1)


def split_documents(
    starts_BL: Tensor, attention_mask: Tensor | None, position_ids: Tensor | None
) -> list[DocumentGroup]:
    """The documents of a packed batch, in groups whose shortest one has at least half the tokens of the longest.

    Args:
        starts_BL: from `document_starts`.
        attention_mask: (B, L), or None. Padding is in no document.
        position_ids: (1 or B, L). None: those of each document count from 0.
    """
    token_BL = torch.ones_like(starts_BL) if attention_mask is None else attention_mask.bool()
    starts_BL = starts_BL | (token_BL & (token_BL.cumsum(-1) == 1))
    index_T = token_BL.flatten().nonzero().squeeze(-1)  # T tokens
    begin_N = starts_BL.flatten()[index_T].nonzero().squeeze(-1)
    length_N = torch.cat([begin_N, begin_N.new_tensor([len(index_T)])]).diff()
    length_N, order_N = length_N.sort(descending=True, stable=True)
    begin_N = begin_N[order_N]
    groups, lengths, stop = [], length_N.tolist(), 0
    while stop < len(lengths):
        start, longest = stop, lengths[stop]
        while stop < len(lengths) and 2 * lengths[stop] >= longest:
            stop += 1
        offset_M = torch.arange(longest, device=index_T.device)
        is_token_NM = offset_M < length_N[start:stop, None]
        index_NM = index_T[(begin_N[start:stop, None] + offset_M).clamp(max=len(index_T) - 1)]
        groups.append(DocumentGroup(index_NM, is_token_NM.long(), _positions(index_NM, is_token_NM, position_ids)))
    return groups


def _positions(index_NM: Tensor, is_token_NM: Tensor, position_ids: Tensor | None) -> Tensor:
    """Positions of the tokens of documents; at padding they continue, up to the largest position of the batch."""
    offset_NM = torch.arange(index_NM.shape[1], device=index_NM.device).expand_as(index_NM)
    if position_ids is None:
        return offset_NM
    length = position_ids.shape[1]
    index_NM = index_NM if len(position_ids) > 1 else index_NM % length
    position_NM = position_ids.flatten()[index_NM]
    continued_NM = (position_NM[:, :1] + offset_NM).clamp(max=int(position_ids.max()))
    return torch.where(is_token_NM, position_NM, continued_NM)


def merge_documents(groups: Sequence[DocumentGroup], parts: Sequence[Tensor], shape: torch.Size) -> Tensor:
    """The packed batch (B, L, D) of the outputs (N, M, D) of its groups; `shape` is (B, L). Padding becomes 0."""
    masks = [group.mask_NM.bool() for group in groups]
    index_T = torch.cat([group.index_NM[mask] for group, mask in zip(groups, masks, strict=True)])
    value_TD = torch.cat([part[mask] for part, mask in zip(parts, masks, strict=True)])
    packed_TD = value_TD.new_zeros(shape.numel(), value_TD.shape[-1]).index_copy(0, index_T, value_TD)
    return packed_TD.view(*shape, -1)
