"""Causal attention in memory linear in the length: over everything before, or over a window cut into blocks.

A mask of all queries by all keys is never built for a whole sequence. Two turns make that possible. A window is cut
into blocks of queries, each beside the few blocks of keys it can reach, so its cost grows with the length and not with
its square. Padding rides along as one more feature of queries and keys whose product is a large negative score, so
torch's fused kernels, which know `is_causal` but no padding, leave padded keys out by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from manticore.errors import ManticoreError
from manticore.kernels.checks import expect, tensors_among

BAR = 2.0**15
"""The feature that bars a padded key: its square is far below any score, and half precision can hold it."""

SPARE = 8
"""Features added to carry padding: one is used, the fused kernels of GPUs want the width divisible by eight."""

SMALLEST, LARGEST = 64, 256
"""Block sizes: shorter blocks waste time on calls, longer ones on keys outside the window."""

Attend = Callable[..., Tensor]


def causal_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    window: int | None = None,
    padding: Tensor | None = None,
    scale: float = 1.0,
    dropout: float = 0.0,
) -> Tensor:
    """softmax(scale * q k^T) v where each query sees itself and what came before; differentiable once, on any device.

    Args:
        q: (B, H, Lq, d); the queries stand at the last Lq positions of the keys.
        k, v: (B, H, Lk, d) with Lk >= Lq.
        window: how many keys a query sees, itself included; None for all.
        padding: (B, Lk), 0 or False for keys nobody may see, or None. A query that is left with no key at all averages
            the values it could have seen and gives `q` and `k` no gradient.
        scale: what scores are multiplied by.
        dropout: share of attention weights set to zero, the others scaled up.

    Returns:
        (B, H, Lq, d). Scores of half-precision inputs are summed in single precision.

    Raises ManticoreError for shapes, dtypes, devices or a window that do not fit.
    """
    _check(q, k, v, window, padding)
    queries, width = q.shape[2:]
    if window is not None:
        reach = min(k.shape[2], queries + window - 1)
        k, v = k[:, :, -reach:], v[:, :, -reach:]
        padding = None if padding is None else padding[:, -reach:]
        window = None if window >= reach else window
    attend = partial(F.scaled_dot_product_attention, dropout_p=dropout, scale=scale)
    if padding is not None:
        kept_BK = padding.to(q.device, torch.bool)
        lost_BQ = _lost(kept_BK, queries, window)
        q = q.masked_fill(lost_BQ[:, None, :, None], 0.0)
        if queries == 1:
            return attend(q, k, v, attn_mask=(kept_BK | lost_BQ)[:, None, None])
        q, k = _widen(q, lost_BQ, BAR), _widen(k, kept_BK, -BAR)
        v = F.pad(v, (0, SPARE))
    if queries == 1:
        return attend(q, k, v)
    return _banded(attend, q, k, v, window)[..., :width]


def _check(q: Tensor, k: Tensor, v: Tensor, window: int | None, padding: Tensor | None) -> None:
    given = tensors_among({"q": q, "k": k, "v": v}, ())
    if q.ndim != 4 or k.ndim != 4:
        raise ManticoreError(f"'q' and 'k' have {q.ndim} and {k.ndim} dimensions; allowed: 4, (B, H, L, d).")
    batch, heads, queries, width = q.shape
    keys = k.shape[2]
    same = (batch, heads, keys, width)
    expect(given, {"q": (batch, heads, queries, width), "k": same, "v": same}, "'q' and 'k'")
    if keys < queries:
        raise ManticoreError(f"'k' has {keys} positions; allowed: at least the {queries} of 'q'.")
    if window is not None and window < 1:
        raise ManticoreError(f"'window' is {window}; allowed: 1 or more, or None.")
    if padding is not None and tuple(padding.shape) != (batch, keys):
        message = f"'padding' has shape {tuple(padding.shape)}; allowed with these 'q' and 'k': {(batch, keys)}."
        raise ManticoreError(message)


def _lost(kept_BK: Tensor, queries: int, window: int | None) -> Tensor:
    """(B, Lq): queries from which every key in reach is padded."""
    seen_BK = kept_BK.cumsum(1)
    if window is not None:
        seen_BK = seen_BK - F.pad(seen_BK, (window, 0))[:, : seen_BK.shape[1]]
    return seen_BK[:, -queries:] == 0


def _widen(x_BHLd: Tensor, free_BL: Tensor, bar: float) -> Tensor:
    """`x` with SPARE features more: the first is `bar` except where `free`, the rest are zero."""
    batch, heads, length, _ = x_BHLd.shape
    spare_BLs = F.pad((~free_BL).to(x_BHLd.dtype).mul(bar)[..., None], (0, SPARE - 1))
    return torch.cat([x_BHLd, spare_BLs[:, None].expand(batch, heads, length, SPARE)], dim=-1)


def _dense(attend: Attend, q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
    """All queries by all keys."""
    queries, keys = q.shape[2], k.shape[2]
    if queries == keys and (window is None or window >= keys):
        return attend(q, k, v, is_causal=True)
    back_QK = torch.arange(keys - queries, keys, device=q.device)[:, None] - torch.arange(keys, device=q.device)
    return attend(q, k, v, attn_mask=(back_QK >= 0) & (back_QK < (window or keys)))


def _banded(attend: Attend, q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
    """Blocks of queries by the blocks of keys in their window, as many small attentions in one call.

    A block of `size` queries needs its own keys and those of `before` blocks. The first `before` blocks of queries lack
    some of these, so they go by themselves.
    """
    queries, keys = q.shape[2], k.shape[2]
    size = SMALLEST if window is None else min(LARGEST, max(SMALLEST, window // 2))
    before = 0 if window is None else -(-(window - 1) // size)
    first = before * size
    if window is None or queries <= first + size:
        return _dense(attend, q, k, v, window)
    count = -(-(queries - first) // size)
    missing = count * size - (queries - first)
    past = keys - queries
    start_BHFd = _dense(attend, q[:, :, :first], k[:, :, : past + first], v[:, :, : past + first], window)
    q_NHSd = _blocks(q[:, :, first:], missing, size, 1)
    k_NHRd, v_NHRd = (_blocks(x[:, :, past:], missing, size, before + 1) for x in (k, v))
    rest_NHSd = _dense(attend, q_NHSd, k_NHRd, v_NHRd, window)
    rest_BLHd = rest_NHSd.transpose(1, 2).reshape(q.shape[0], count * size, *q.shape[1::2])[:, : queries - first]
    return torch.cat([start_BHFd.transpose(1, 2), rest_BLHd], dim=1).transpose(1, 2)


def _blocks(x_BHLd: Tensor, missing: int, size: int, joined: int) -> Tensor:
    """(B * n, H, joined * size, d): every run of `joined` neighbouring blocks, zeros added at the end."""
    x_BNHSd = F.pad(x_BHLd, (0, 0, 0, missing)).unflatten(2, (-1, size)).transpose(1, 2)
    count = x_BNHSd.shape[1] - joined + 1
    return torch.cat([x_BNHSd[:, i : i + count] for i in range(joined)], dim=3).flatten(0, 1)
