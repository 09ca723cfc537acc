"""Losses of whole paths of a supernet on text, without training."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from manticore.errors import ManticoreError
from manticore.nas.choices import PathNames
from manticore.nas.supernet import Supernet
from manticore.utils.module_state import eval_mode

MAX_PATHS = 256
"""Largest number of paths for which `path_losses` scores all of them."""

TokenBatch = tuple[Tensor, Tensor | None]
"""Token ids (B, L) and their mask (B, L), 1 for tokens and 0 for padding; None: no padding."""


@torch.no_grad()
def path_loss(supernet: Supernet, batches: Sequence[TokenBatch], path: Sequence[str]) -> float:
    """Mean cross-entropy of one path in nats per predicted token. Raises ManticoreError if no token is predicted."""
    with eval_mode(supernet):
        losses = torch.cat([next_token_loss(supernet, batch, path).double() for batch in batches])
    if not len(losses):
        raise ManticoreError("no path can be scored on text without a second token")
    return float(losses.mean())


def path_losses(supernet: Supernet, batches: Sequence[TokenBatch]) -> dict[PathNames, float]:
    """The loss of every path in nats per token, best first.

    Args:
        supernet: an aligned language model.
        batches: held-out text in the tokens of the base model, on the device of the supernet.

    Raises ManticoreError if the space has more than `MAX_PATHS` paths.
    """
    count = supernet.choices.count
    if count > MAX_PATHS:
        raise ManticoreError(f"{count} paths are too many to score one by one; at most {MAX_PATHS}")
    losses = {path: path_loss(supernet, batches, path) for path in supernet.choices.paths()}
    return dict(sorted(losses.items(), key=lambda item: item[1]))


def next_token_loss(supernet: Supernet, batch: TokenBatch, path: Sequence[str]) -> Tensor:
    """Cross-entropy of one path for every predicted token, in nats, (N,)."""
    ids_BL, mask_BL = batch
    logits_BLV = supernet(ids_BL, mask_BL, path=list(path)).float()
    predicted_BM = predicted_mask(batch)
    return F.cross_entropy(logits_BLV[:, :-1][predicted_BM], ids_BL[:, 1:][predicted_BM], reduction="none")


def predicted_mask(batch: TokenBatch) -> Tensor:
    """Which tokens have a next one to predict, neither of the two being padding: (B, L - 1) bool."""
    ids_BL, mask_BL = batch
    if mask_BL is None:
        return torch.ones_like(ids_BL[:, 1:], dtype=torch.bool)
    return mask_BL[:, 1:].bool() & mask_BL[:, :-1].bool()
