"""Zero-shot search: aligned stages are scored as they are, before any training (`--strategy zero-shot`).

The measure of a stage is the Kullback-Leibler divergence from the next-token distribution of the base model when a
donor replaces that stage, on unlabelled text. The loss is a worse measure: on text that the base model was not trained
on, a least-squares projector shrinks updates, which makes predictions less confident and the loss smaller without any
knowledge gained. Differences between paths are also small compared with those between tokens.

The quality of a donor stage after fine-tuning is not known beforehand. Its divergence is, and it differs by an order of
magnitude between stages. Therefore

    score[s, donor] = mean over all s, donors of KL[s, donor]  -  KL[s, donor],      score[s, base] = 0

and the best path has a donor at every stage where the smallest divergence of a donor is below the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import ClassVar

import torch
from torch import Tensor

from manticore.components.spec import SKIP
from manticore.errors import ManticoreError
from manticore.nas.selection.path_scores import PathNames, TokenBatch, predicted_mask
from manticore.nas.strategies.base import Batch, TrainingFree, strategies
from manticore.nas.supernet import Supernet
from manticore.utils.module_state import eval_mode

SHARPNESS = 100.0
"""Alphas for each nat per token of score: 0.01 nats make a mixing weight e times as large."""


@strategies.register("zero-shot")
class ZeroShot(TrainingFree):
    """Alphas are proportional to the scores of the candidates, each at one stage with the base model at all others."""

    needs_alignment: ClassVar[bool] = True
    batches: ClassVar[int] = 2

    def alphas(self, supernet: Supernet, batches: Sequence[Batch]) -> Tensor:
        scores_SK = candidate_scores(supernet, stage_kl(supernet, token_batches(batches)))
        return SHARPNESS * torch.tensor(scores_SK)


def token_batches(batches: Sequence[Batch]) -> list[TokenBatch]:
    """The token ids and masks of training batches."""
    return [(batch["input_ids"], batch["attention_mask"]) for batch in batches]


def mean_stage_kl(supernet: Supernet, batches: Sequence[Batch]) -> float:
    """Mean divergence over stages and donors, in nats per token; see `stage_kl`."""
    return donor_mean(supernet, stage_kl(supernet, token_batches(batches)))


def stage_kl(supernet: Supernet, batches: Sequence[TokenBatch]) -> list[list[float]]:
    """The divergence of each candidate at each stage with the base at all others, in nats per token, (S, K).

    Its sum along a path estimates the divergence of the path, as if stages were independent.
    """
    base, stages = (supernet.base,), supernet.space.stages
    paths = [
        base * stage + (name,) + base * (stages - stage - 1) for stage in range(stages) for name in supernet.candidates
    ]
    divergences, width = path_kl(supernet, batches, paths), len(supernet.candidates)
    return [divergences[start : start + width] for start in range(0, len(divergences), width)]


@torch.no_grad()
def path_kl(supernet: Supernet, batches: Sequence[TokenBatch], paths: Sequence[PathNames]) -> list[float]:
    """KL(base || path) of each path, in nats per token. Raises ManticoreError if there is no token to predict."""
    base = (supernet.base,) * supernet.space.stages
    mixed = [index for index, path in enumerate(paths) if path != base]
    total, count = torch.zeros(len(paths), dtype=torch.float64), 0
    with eval_mode(supernet):
        for batch in batches:
            base_NV = _log_probabilities(supernet, batch, base)
            count += len(base_NV)
            for index in mixed:
                # KL(p || q) = sum_v p_v (log p_v - log q_v), summed over tokens
                difference_NV = base_NV - _log_probabilities(supernet, batch, paths[index])
                total[index] += float((base_NV.exp() * difference_NV).sum(dtype=torch.float64))
    if not count:
        raise ManticoreError("no path can be scored on text without a second token")
    divergences: list[float] = (total / count).tolist()
    return divergences


def _log_probabilities(supernet: Supernet, batch: TokenBatch, path: Sequence[str]) -> Tensor:
    """Log probabilities of the next token wherever there is one, (N, V)."""
    ids_BL, mask_BL = batch
    logits_BLV = supernet(ids_BL, mask_BL, path=list(path))[:, :-1]
    logits_NV: Tensor = logits_BLV[predicted_mask(batch)]
    return logits_NV.float().log_softmax(-1)


def donor_indices(supernet: Supernet) -> list[int]:
    """Indices of the donors among the candidates."""
    return [index for index, name in enumerate(supernet.candidates) if name not in (supernet.base, SKIP)]


def donor_mean(supernet: Supernet, kl_SK: list[list[float]]) -> float:
    """Mean of a table (S, K) over all stages and donors."""
    donors = donor_indices(supernet)
    return fmean(row[donor] for row in kl_SK for donor in donors)


def candidate_scores(supernet: Supernet, kl_SK: list[list[float]]) -> list[list[float]]:
    """Scores of all candidates, (S, K), in nats per token; see the formula above.

    Args:
        supernet: the supernet of the candidates.
        kl_SK: their `stage_kl`.
    """
    donors, mean = donor_indices(supernet), donor_mean(supernet, kl_SK)
    return [[(mean if index in donors else 0.0) - kl for index, kl in enumerate(row)] for row in kl_SK]
