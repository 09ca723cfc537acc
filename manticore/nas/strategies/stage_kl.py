"""Stages weighed before any training: how far an aligned stage moves base's predictions (`--strategy zero-shot`).

The measure is the Kullback-Leibler divergence from base's next-token distribution on unlabelled text. The loss itself
tells less: on text that base was not trained on, every least-squares projector shrinks an update, which makes base's
predictions less sure of themselves and the loss smaller without any knowledge gained; and differences between paths
drown in what tokens differ by.

What a donor stage will have learnt after fine-tuning cannot be told beforehand; what it disturbs can, and differs by
an order of magnitude between stages. So every donor stage is taken to be worth the same, as much as one disturbs in
the mean, and costs what it disturbs itself: all but the dear ones are given away.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

import torch
from torch import Tensor

from manticore.components.spec import SKIP
from manticore.errors import ManticoreError
from manticore.nas.selection.path_scores import PathNames, TokenBatch, predicted_mask
from manticore.nas.supernet import Supernet
from manticore.utils.module_state import eval_mode


@torch.no_grad()
def path_kl(supernet: Supernet, batches: Sequence[TokenBatch], paths: Sequence[PathNames]) -> list[float]:
    """KL(base || path) of each path, in nats per token. Raises ManticoreError if there is no token to predict."""
    base = (supernet.base,) * supernet.space.stages
    away = [place for place, path in enumerate(paths) if path != base]
    total, count = torch.zeros(len(paths), dtype=torch.float64), 0
    with eval_mode(supernet):
        for batch in batches:
            own_NV = _predictions(supernet, batch, base)
            count += len(own_NV)
            for place in away:
                apart_NV = own_NV - _predictions(supernet, batch, paths[place])
                total[place] += float((own_NV.exp() * apart_NV).sum(dtype=torch.float64))
    if not count:
        raise ManticoreError("no path can be scored on text without a second token")
    held: list[float] = (total / count).tolist()
    return held


def _predictions(supernet: Supernet, batch: TokenBatch, path: Sequence[str]) -> Tensor:
    """Log probabilities of the next token wherever there is one, (N, V)."""
    logits_BLV = supernet(batch.ids_BL, batch.mask_BL, path=list(path))[:, :-1]
    logits_NV: Tensor = logits_BLV[predicted_mask(batch)]
    return logits_NV.float().log_softmax(-1)


def stage_kl(supernet: Supernet, batches: Sequence[TokenBatch]) -> list[list[float]]:
    """The divergence of each candidate at each stage, all other stages base: nats per token, (S, K).

    Summed along a path it estimates the path's, as if stages did not mind each other.
    """
    base, stages = (supernet.base,), supernet.space.stages
    paths = [
        base * stage + (name,) + base * (stages - stage - 1) for stage in range(stages) for name in supernet.candidates
    ]
    held = path_kl(supernet, batches, paths)
    width = len(supernet.candidates)
    return [held[start : start + width] for start in range(0, len(held), width)]


def donor_indices(supernet: Supernet) -> list[int]:
    """Places of the donor components among the candidates."""
    return [place for place, name in enumerate(supernet.candidates) if name not in (supernet.base, SKIP)]


def candidate_scores(supernet: Supernet, apart_SK: list[list[float]]) -> list[list[float]]:
    """What each candidate is worth at each stage against base, whose own is 0: nats per token, (S, K).

    Args:
        supernet: whose candidates they are.
        apart_SK: their `stage_divergences`.
    """
    donor = donor_indices(supernet)
    worth = fmean(row[place] for row in apart_SK for place in donor)
    return [[(worth if place in donor else 0.0) - held for place, held in enumerate(row)] for row in apart_SK]
