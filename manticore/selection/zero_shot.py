"""What every path of an aligned supernet needs on held-out text before any training."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch

from manticore.alignment.reading import Reading
from manticore.alignment.steps import next_token_loss
from manticore.errors import ManticoreError
from manticore.supernet import Supernet

ENUMERABLE = 256
"""Most paths that are scored one by one."""

Path = tuple[str, ...]


@torch.no_grad()
def path_loss(supernet: Supernet, batches: Sequence[Reading], path: Sequence[str]) -> float:
    """Mean cross-entropy in nats per next token of one path. Raises ManticoreError if there is none to predict."""
    was_training = supernet.training
    supernet.eval()
    losses = torch.cat([next_token_loss(supernet, batch, path).double() for batch in batches])
    supernet.train(was_training)
    if not len(losses):
        raise ManticoreError("no path can be scored on text without a second token")
    return float(losses.mean())


def zero_shot(supernet: Supernet, batches: Sequence[Reading]) -> dict[Path, float]:
    """The loss of every path in nats per token, best first.

    Args:
        supernet: an aligned language model.
        batches: held-out text in home's tokens.

    Raises ManticoreError if there are more than `ENUMERABLE` paths.
    """
    count = len(supernet.candidates) ** supernet.space.stages
    if count > ENUMERABLE:
        raise ManticoreError(f"{count} paths are too many to score one by one; at most {ENUMERABLE}")
    paths = product(supernet.candidates, repeat=supernet.space.stages)
    losses = {path: path_loss(supernet, batches, path) for path in paths}
    return dict(sorted(losses.items(), key=lambda held: held[1]))
