"""What a training has changed in the weights of each stage: the share of weights that moved, and the rank of changes.

Definitions are those of "Reinforcement Learning Finetunes Small Subnetworks in Large Language Models" (arXiv
2505.11711): the share that moved is `||W' - W||_0 / n`, and a change that is sparse may still have full rank.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

TOLERANCE = 1e-5
"""Smallest absolute change of a weight that counts as one."""

MAIN_SHARE = 0.99
"""Share of the squared norm of a change that its main rank has."""


@dataclass(frozen=True)
class WeightChange:
    """The change of one or several weights.

    Attributes:
        weights: number of weights.
        moved: number of those that differ by more than `TOLERANCE`.
        full_rank: sum of the largest possible ranks of the matrices.
        rank, main_rank: sums of the ranks of the changes, and of those with `MAIN_SHARE` of the squared norm.
    """

    weights: int = 0
    moved: int = 0
    full_rank: int = 0
    rank: int = 0
    main_rank: int = 0

    def __add__(self, change: WeightChange) -> WeightChange:
        return WeightChange(
            self.weights + change.weights,
            self.moved + change.moved,
            self.full_rank + change.full_rank,
            self.rank + change.rank,
            self.main_rank + change.main_rank,
        )


@torch.no_grad()
def stage_changes(before: PreTrainedModel, after: PreTrainedModel) -> list[WeightChange]:
    """For each stage, how the layers of components differ in two hybrids of the same path; without projectors and ops.

    The matrices are decomposed one by one, in float32 and where `after` is.
    """
    start = dict(before.named_parameters())
    changes = [WeightChange() for _ in after.config.path]
    for name, weight in after.named_parameters():
        parts = name.split(".")
        if parts[:2] == ["model", "stages"] and parts[3] == "segment":
            changes[int(parts[2])] += weight_change(start[name].to(weight.device), weight)
    return changes


def weight_change(before: Tensor, after: Tensor) -> WeightChange:
    """The change of one weight of any shape; a rank is computed if it is a matrix.

    The rank is the number of singular values above the rounding errors of the stored weights, `eps ||W||_F`, and of
    the decomposition, `eps max(m, n) s_1`.
    """
    change = after.float() - before.float()
    moved = int((change.abs() > TOLERANCE).sum())
    if change.dim() != 2:
        return WeightChange(change.numel(), moved)
    values = torch.linalg.svdvals(change)
    rounding = torch.finfo(after.dtype).eps * after.float().norm()
    decomposition = torch.finfo(torch.float32).eps * max(change.shape) * values[0]
    rank = int((values > torch.maximum(rounding, decomposition)).sum())
    energy = values[:rank].square().cumsum(0)
    main_rank = int((energy < MAIN_SHARE * energy[-1]).sum()) + 1 if rank else 0
    return WeightChange(change.numel(), moved, min(change.shape), rank, main_rank)
