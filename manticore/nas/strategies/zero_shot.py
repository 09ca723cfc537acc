"""Zero-shot search: aligned stages are scored without any training (`--strategy zero-shot`).

The measure of a stage is the Kullback-Leibler divergence from the next-token distribution of the base model when a
donor replaces that stage, on unlabelled text. The loss is a worse measure: on text that the base model was not trained
on, a least-squares projector shrinks updates, which makes predictions less confident and the loss smaller although the
model has not improved. Differences between paths are also small compared with those between tokens.

The quality of a donor stage after fine-tuning is not known beforehand. Its divergence is, and it differs by an order of
magnitude between stages. Therefore

    score[s, donor] = mean over all s, donors of KL[s, donor]  -  KL[s, donor],      score[s, base] = 0

and the best path has a donor at every stage where the smallest divergence of a donor is below the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import ClassVar

import torch
from torch import Tensor

from manticore.components.spec import SKIP
from manticore.errors import ManticoreError
from manticore.nas.choices import PathNames
from manticore.nas.selection.path_scores import TokenBatch, predicted_mask
from manticore.nas.space import SearchSpace
from manticore.nas.stage_scores import StageScores
from manticore.nas.strategies.base import TrainingFree, strategies
from manticore.nas.supernet import Supernet
from manticore.tasks.dataset import Batch
from manticore.utils.module_state import eval_mode
from manticore.utils.statistics import ratio_std_error

SHARPNESS = 100.0
"""Alphas for each nat per token of score: 0.01 nats make a mixing weight e times as large."""


@strategies.register("zero-shot")
class ZeroShot(TrainingFree):
    """Alphas are proportional to the scores of the candidates, each at one stage with the base model at all others."""

    needs_alignment: ClassVar[bool] = True
    batches: ClassVar[int] = 2

    def alphas(self, supernet: Supernet, batches: Sequence[Batch]) -> Tensor:
        return self.search(supernet, batches)[0]

    def search(self, supernet: Supernet, batches: Sequence[Batch]) -> tuple[Tensor, StageScores]:
        divergences = path_divergences(supernet, token_batches(batches), stage_paths(supernet))
        kl_SK, errors_SK = (stage_table(supernet, values) for values in (divergences.means, divergences.std_errors))
        scores = StageScores(
            "KL divergence",
            "nats per token",
            lower_is_better=True,
            candidates=supernet.candidates,
            values=tuple(map(tuple, kl_SK)),
            spread=tuple(map(tuple, errors_SK)) if divergences.sequences > 1 else None,
            spread_of=f"standard error over {divergences.sequences} sequences",
            threshold=donor_mean(supernet, kl_SK),
            rule="It measures how much the base model's predictions change when the candidate replaces that stage "
            "alone. A donor is chosen at the stages where its divergence is below the mean over all stages and donors",
        )
        return SHARPNESS * torch.tensor(candidate_scores(supernet, kl_SK)), scores


def token_batches(batches: Sequence[Batch]) -> list[TokenBatch]:
    """The token ids and masks of training batches."""
    return [(batch["input_ids"], batch["attention_mask"]) for batch in batches]


def mean_stage_kl(supernet: Supernet, batches: Sequence[Batch]) -> float:
    """Mean divergence over stages and donors, in nats per token; see `stage_kl`."""
    return donor_mean(supernet, stage_kl(supernet, token_batches(batches)))


def stage_kl(supernet: Supernet, batches: Sequence[TokenBatch]) -> list[list[float]]:
    """The divergence of each candidate at each stage with the base at all others, in nats per token, (S, K).

    Its sum along a path estimates the divergence of the path, as if stages were independent. Stages that choose
    together are replaced together and share their divergence equally. Candidates that a stage does not have get 0.
    """
    return stage_table(supernet, path_kl(supernet, batches, stage_paths(supernet)))


def stage_paths(supernet: Supernet) -> list[PathNames]:
    """For each decision and each of its candidates the path with the candidate there and the base at all others."""
    choices, stages = supernet.choices, range(supernet.space.stages)
    return [
        tuple(choices.candidates[index] if stage in group else supernet.base for stage in stages)
        for group, index in _decisions(supernet)
    ]


def stage_table(supernet: Supernet, values: Sequence[float]) -> list[list[float]]:
    """A value for each of `stage_paths` as a table (S, K), 0 for a candidate that a stage does not have.

    Stages that choose together share their value equally.
    """
    table_SK = [[0.0] * len(supernet.candidates) for _ in range(supernet.space.stages)]
    for (group, index), value in zip(_decisions(supernet), values, strict=True):
        for stage in group:
            table_SK[stage][index] = value / len(group)
    return table_SK


def _decisions(supernet: Supernet) -> list[tuple[tuple[int, ...], int]]:
    """Each group of stages that choose together, with the index of each of its candidates but ops, which are new."""
    choices = supernet.choices
    pairs = ((group, index) for group in choices.decisions for index in choices.allowed[group[0]])
    return [(group, index) for group, index in pairs if choices.candidates[index] not in supernet.ops]


def path_kl(supernet: Supernet, batches: Sequence[TokenBatch], paths: Sequence[PathNames]) -> list[float]:
    """KL(base || path) of each path, in nats per token. Raises ManticoreError if there is no token to predict."""
    return path_divergences(supernet, batches, paths).means


@dataclass(frozen=True)
class Divergences:
    """KL(base || path) of several paths on the same text.

    Attributes:
        means: of each path, in nats per token.
        std_errors: of the means, which take the sequences to be independent, not the tokens of one.
        sequences: number of sequences.
    """

    means: list[float]
    std_errors: list[float]
    sequences: int


@torch.no_grad()
def path_divergences(supernet: Supernet, batches: Sequence[TokenBatch], paths: Sequence[PathNames]) -> Divergences:
    """KL(base || path) of each path with its standard error. Raises ManticoreError if no token is predicted."""
    base = (supernet.base,) * supernet.space.stages
    mixed = [index for index, path in enumerate(paths) if path != base]
    total, count = torch.zeros(len(paths), dtype=torch.float64), 0
    sums: list[list[Tensor]] = [[] for _ in paths]
    sizes: list[Tensor] = []
    with eval_mode(supernet):
        for batch in batches:
            base_NV = _log_probabilities(supernet, batch, base)
            count += len(base_NV)
            owners_N = predicted_mask(batch).nonzero()[:, 0].cpu()
            sizes.append(owners_N.bincount(minlength=len(batch[0])))
            for index in mixed:
                # KL(p || q) = sum_v p_v (log p_v - log q_v), summed over tokens
                difference_NV = base_NV - _log_probabilities(supernet, batch, paths[index])
                terms_NV = base_NV.exp() * difference_NV
                total[index] += float(terms_NV.sum(dtype=torch.float64))
                terms_N = terms_NV.sum(-1, dtype=torch.float64).cpu()
                sums[index].append(terms_N.new_zeros(len(batch[0])).index_add_(0, owners_N, terms_N))
    if not count:
        raise ManticoreError("no path can be scored on text without a second token")
    means: list[float] = (total / count).tolist()
    sizes_B = torch.cat(sizes)
    scored_B, sequences = sizes_B > 0, int((sizes_B > 0).sum())
    errors = [0.0] * len(paths)
    for index in mixed if sequences > 1 else []:
        residuals_B = (torch.cat(sums[index]) - means[index] * sizes_B)[scored_B]
        errors[index] = ratio_std_error(residuals_B.numpy(), count, sequences)
    return Divergences(means, errors, sequences)


def _log_probabilities(supernet: Supernet, batch: TokenBatch, path: Sequence[str]) -> Tensor:
    """Log probabilities of the next token wherever there is one, (N, V)."""
    ids_BL, mask_BL = batch
    logits_BLV = supernet(ids_BL, mask_BL, path=list(path))[:, :-1]
    logits_NV: Tensor = logits_BLV[predicted_mask(batch)]
    return logits_NV.float().log_softmax(-1)


def donor_indices(supernet: Supernet) -> list[int]:
    """Indices of the donors among the candidates."""
    not_donors = (supernet.base, SKIP, *supernet.ops)
    return [index for index, name in enumerate(supernet.candidates) if name not in not_donors]


def donor_mean(supernet: Supernet, kl_SK: Sequence[Sequence[float]]) -> float:
    """Mean of a table (S, K) over all stages and their donors; 0 without a donor."""
    donors, rows = donor_indices(supernet), zip(kl_SK, supernet.choices.allowed, strict=True)
    values = [row[donor] for row, allowed in rows for donor in donors if donor in allowed]
    return fmean(values) if values else 0.0


def check_no_ops(space: SearchSpace) -> None:
    """Raise ManticoreError if a space has ops: their weights are new, so they cannot be compared without training."""
    if space.ops:
        raise ManticoreError(
            f"candidates are compared without training here, and op '{space.ops[0].name}' has no trained weights; "
            "search with --strategy darts"
        )


def check_base_everywhere(space: SearchSpace, base: str | None, remedy: str) -> None:
    """Raise ManticoreError if a base model, with which candidates are compared, is no candidate of some stage.

    Args:
        space: the search space.
        base: the base model; None if any component may be.
        remedy: another way out for the user, for the message.
    """
    if lacking := space.stage_without([base] if base else space.names):
        stage, name = lacking
        raise ManticoreError(
            f"candidates are compared with the base model here, and '{name}' is no candidate of stage {stage}; add it "
            f"in stage_candidates, or {remedy}"
        )


def candidate_scores(supernet: Supernet, kl_SK: list[list[float]]) -> list[list[float]]:
    """Scores of all candidates, (S, K), in nats per token; see the formula above.

    Args:
        supernet: the supernet of the candidates.
        kl_SK: their `stage_kl`.
    """
    donors, mean = donor_indices(supernet), donor_mean(supernet, kl_SK)
    return [[(mean if index in donors else 0.0) - kl for index, kl in enumerate(row)] for row in kl_SK]
