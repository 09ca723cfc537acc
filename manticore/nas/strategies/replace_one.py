"""A search that trains nothing: candidates are scored by the objective of the selection, one replaced stage at a time.

It differs from `zero-shot` in the measure, which is the loss on the validation split with that of recall instead of the
divergence from the base, and in that a candidate needs no score above the mean: with limits, the path has the smallest
sum of losses that they allow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from manticore.nas.strategies.base import TrainingFree, strategies
from manticore.nas.supernet import Supernet
from manticore.tasks.dataset import Batch


@strategies.register("replace-one")
class ReplaceOne(TrainingFree):
    """Equal alphas; the path is that of the selector `replace-one`."""

    needs_alignment: ClassVar[bool] = True
    selector: ClassVar[str] = "replace-one"
    batches: ClassVar[int] = 1

    def alphas(self, supernet: Supernet, batches: Sequence[Batch]) -> Tensor:
        return torch.zeros(supernet.space.stages, len(supernet.candidates))
