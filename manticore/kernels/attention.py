"""Causal attention in memory linear in the length, over all previous tokens or over a sliding window.

The mask of all queries by all keys is never built for a whole sequence:

- A window is cut into blocks of queries, each with the few blocks of keys that it can see, so that the cost grows with
  the length and not with its square.
- Padding becomes an additional feature of queries and keys whose product is a large negative score. torch's fused
  kernels accept `is_causal` but no padding mask; with this feature they give padded keys no weight.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from manticore.errors import ManticoreError
from manticore.kernels.checks import check_tensors, present_tensors

PADDING_FEATURE = 2.0**15
"""Value of the feature that masks padded keys. Its square exceeds every score, and half precision can represent it."""

EXTRA_FEATURES = 8
"""Features that are added for padding. One is used; fused GPU kernels need a width divisible by eight."""

MIN_BLOCK, MAX_BLOCK = 64, 256
"""Block sizes. Smaller blocks cost more calls, larger ones more keys outside of the window."""

Attend = Callable[..., Tensor]
"""`scaled_dot_product_attention` with its scale and dropout."""


def causal_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    window: int | None = None,
    padding: Tensor | None = None,
    scale: float = 1.0,
    dropout: float = 0.0,
) -> Tensor:
    """softmax(scale * q k^T) v, where a query sees itself and previous keys; differentiable once, on any device.

    Args:
        q: (B, H, Lq, d), the queries of the last Lq positions of the keys.
        k, v: (B, H, Lk, d) with Lk >= Lq.
        window: number of keys that a query sees, itself included; None for all.
        padding: (B, Lk), 0 or False for padded keys, or None. A query that sees padded keys only averages their values
            and has no gradient in `q` and `k`.
        scale: factor of the scores.
        dropout: share of attention weights that are set to zero; the others are scaled up.

    Returns:
        (B, H, Lq, d). Scores of half-precision inputs are summed in single precision.

    Raises ManticoreError for shapes, dtypes, devices or a window that do not fit.
    """
    _check(q, k, v, window, padding)
    queries, width = q.shape[2:]
    if window is not None:
        reach = min(k.shape[2], queries + window - 1)  # earlier keys are outside of every window
        if reach < k.shape[2]:
            k, v = k[:, :, -reach:], v[:, :, -reach:]
        padding = None if padding is None else padding[:, -reach:]
        window = None if window >= reach else window
    attend = partial(F.scaled_dot_product_attention, dropout_p=dropout, scale=scale)
    if padding is not None:
        is_token_BK = padding.to(q.device, torch.bool)
        sees_no_token_BQ = _sees_no_token(is_token_BK, queries, window)
        q = q.masked_fill(sees_no_token_BQ[:, None, :, None], 0.0)
        if queries == 1:
            return attend(q, k, v, attn_mask=(is_token_BK | sees_no_token_BQ)[:, None, None])
        # The added features have the product -PADDING_FEATURE**2 for a query with a padded key, and 0 with a token. A
        # query that sees no token has feature 0, so that all its scores are equal.
        q = _append_features(q, sees_no_token_BQ, PADDING_FEATURE)
        k = _append_features(k, is_token_BK, -PADDING_FEATURE)
        v = F.pad(v, (0, EXTRA_FEATURES))
    if queries == 1:
        return attend(q, k, v)
    out = _attend_in_blocks(attend, q, k, v, window)
    return out if padding is None else out[..., :width]


def _check(q: Tensor, k: Tensor, v: Tensor, window: int | None, padding: Tensor | None) -> None:
    tensors = present_tensors((("q", q), ("k", k), ("v", v)))
    if q.ndim != 4 or k.ndim != 4:
        raise ManticoreError(f"'q' and 'k' have {q.ndim} and {k.ndim} dimensions; allowed: 4, (B, H, L, d).")
    batch, heads, queries, width = q.shape
    keys = k.shape[2]
    key_shape = (batch, heads, keys, width)
    check_tensors(tensors, {"q": (batch, heads, queries, width), "k": key_shape, "v": key_shape}, "'q' and 'k'")
    if keys < queries:
        raise ManticoreError(f"'k' has {keys} positions; allowed: at least the {queries} of 'q'.")
    if window is not None and window < 1:
        raise ManticoreError(f"'window' is {window}; allowed: 1 or more, or None.")
    if padding is not None and tuple(padding.shape) != (batch, keys):
        message = f"'padding' has shape {tuple(padding.shape)}; allowed with these 'q' and 'k': {(batch, keys)}."
        raise ManticoreError(message)


def _sees_no_token(is_token_BK: Tensor, queries: int, window: int | None) -> Tensor:
    """(B, Lq): whether all keys that a query sees are padded."""
    tokens_BK = is_token_BK.cumsum(1)
    if window is not None:  # tokens up to a key minus tokens up to the key before its window
        tokens_BK = tokens_BK - F.pad(tokens_BK, (window, 0))[:, : tokens_BK.shape[1]]
    return tokens_BK[:, -queries:] == 0


def _append_features(x_BHLd: Tensor, is_zero_BL: Tensor, value: float) -> Tensor:
    """`x` with EXTRA_FEATURES more features: the first is 0 where `is_zero` and `value` elsewhere, the others are 0."""
    batch, heads, length, _ = x_BHLd.shape
    extra_BLs = F.pad((~is_zero_BL).to(x_BHLd.dtype).mul(value)[..., None], (0, EXTRA_FEATURES - 1))
    return torch.cat([x_BHLd, extra_BLs[:, None].expand(batch, heads, length, EXTRA_FEATURES)], dim=-1)


def _attend_densely(attend: Attend, q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
    """All queries by all keys, with a mask of their distances unless `is_causal` is enough."""
    queries, keys = q.shape[2], k.shape[2]
    if queries == keys and (window is None or window >= keys):
        return attend(q, k, v, is_causal=True)
    distance_QK = torch.arange(keys - queries, keys, device=q.device)[:, None] - torch.arange(keys, device=q.device)
    return attend(q, k, v, attn_mask=(distance_QK >= 0) & (distance_QK < (window or keys)))


def _attend_in_blocks(attend: Attend, q: Tensor, k: Tensor, v: Tensor, window: int | None) -> Tensor:
    """Each block of queries by the blocks of keys in its window, as one call with the blocks in the batch.

    A block of `size` queries needs its own block of keys and the `before = ceil((window - 1) / size)` previous ones.
    The first `before` blocks of queries have fewer, so they are computed apart.
    """
    queries, keys = q.shape[2], k.shape[2]
    size = MIN_BLOCK if window is None else min(MAX_BLOCK, max(MIN_BLOCK, window // 2))
    before = 0 if window is None else -(-(window - 1) // size)
    first = before * size
    if window is None or queries <= first + size:
        return _attend_densely(attend, q, k, v, window)
    count = -(-(queries - first) // size)
    missing = count * size - (queries - first)
    past = keys - queries
    start_BHFd = _attend_densely(attend, q[:, :, :first], k[:, :, : past + first], v[:, :, : past + first], window)
    q_NHSd = _blocks(q[:, :, first:], missing, size, 1)
    k_NHRd, v_NHRd = (_blocks(x[:, :, past:], missing, size, before + 1) for x in (k, v))
    rest_NHSd = _attend_densely(attend, q_NHSd, k_NHRd, v_NHRd, window)
    rest_BLHd = rest_NHSd.transpose(1, 2).reshape(q.shape[0], count * size, *q.shape[1::2])[:, : queries - first]
    return torch.cat([start_BHFd.transpose(1, 2), rest_BLHd], dim=1).transpose(1, 2)


def _blocks(x_BHLd: Tensor, missing: int, size: int, joined: int) -> Tensor:
    """(B * n, H, joined * size, d): each run of `joined` consecutive blocks, after `missing` zeros at the end."""
    x_BNHSd = F.pad(x_BHLd, (0, 0, 0, missing)).unflatten(2, (-1, size)).transpose(1, 2)
    count = x_BNHSd.shape[1] - joined + 1
    return torch.cat([x_BNHSd[:, i : i + count] for i in range(joined)], dim=3).flatten(0, 1)
