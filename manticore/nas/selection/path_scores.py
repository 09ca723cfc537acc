"""What every path of an aligned supernet needs on held-out text before any training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from manticore.errors import ManticoreError
from manticore.nas.supernet import Supernet
from manticore.utils.module_state import eval_mode

ENUMERABLE = 256
"""Most paths that are scored one by one."""


class TokenBatch(Protocol):
    """Token ids (B, L) and their mask (B, L), 1 for tokens and 0 for padding; None: no padding."""

    @property
    def ids_BL(self) -> Tensor:  # noqa: N802
        """(B, L) token ids."""
        ...

    @property
    def mask_BL(self) -> Tensor | None:  # noqa: N802
        """(B, L) mask, or None."""
        ...


PathNames = tuple[str, ...]


@torch.no_grad()
def path_loss(supernet: Supernet, batches: Sequence[TokenBatch], path: Sequence[str]) -> float:
    """Mean cross-entropy in nats per next token of one path. Raises ManticoreError if there is none to predict."""
    with eval_mode(supernet):
        losses = torch.cat([next_token_loss(supernet, batch, path).double() for batch in batches])
    if not len(losses):
        raise ManticoreError("no path can be scored on text without a second token")
    return float(losses.mean())


def zero_shot(supernet: Supernet, batches: Sequence[TokenBatch]) -> dict[PathNames, float]:
    """The loss of every path in nats per token, best first.

    Args:
        supernet: an aligned language model.
        batches: held-out text in base's tokens.

    Raises ManticoreError if there are more than `ENUMERABLE` paths.
    """
    count = len(supernet.candidates) ** supernet.space.stages
    if count > ENUMERABLE:
        raise ManticoreError(f"{count} paths are too many to score one by one; at most {ENUMERABLE}")
    paths = product(supernet.candidates, repeat=supernet.space.stages)
    losses = {path: path_loss(supernet, batches, path) for path in paths}
    return dict(sorted(losses.items(), key=lambda held: held[1]))


def next_token_loss(supernet: Supernet, reading: TokenBatch, path: Sequence[str]) -> Tensor:
    """Cross-entropy in nats of every next token that is no padding, (N,), if the path's branches run."""
    logits_BLV = supernet(reading.ids_BL, reading.mask_BL, path=list(path)).float()
    told_BM = predicted_mask(reading)
    return F.cross_entropy(logits_BLV[:, :-1][told_BM], reading.ids_BL[:, 1:][told_BM], reduction="none")


def predicted_mask(reading: TokenBatch) -> Tensor:
    """Which tokens have a next one, neither being padding: (B, L - 1) bool."""
    if reading.mask_BL is None:
        return torch.ones_like(reading.ids_BL[:, 1:], dtype=torch.bool)
    return reading.mask_BL[:, 1:].bool() & reading.mask_BL[:, :-1].bool()
