"""Trained marginal utility: what one replaced stage costs after a short training (arXiv 2512.20569).

The base alone, and every path that differs from it in one choice, are trained for T steps each, from the same weights
and on the same batches. With L(z) the validation loss of path z afterwards,

    u[s, k] = L(base) - L(base with stage s := k),   score of a path = sum_s u[s, z_s].

The sum assumes that stages are independent. The fine-tuning of the selected path starts from the beginning.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from manticore.errors import ManticoreError
from manticore.nas.choices import Choices, PathNames
from manticore.nas.selection.replace_one import replaced_scores
from manticore.nas.selection.scores import PathScores
from manticore.nas.strategies.base import strategies
from manticore.nas.strategies.path_training import PathPlan, PathStrategy, PathTrainer


@strategies.register("marginal")
class Marginal(PathStrategy):
    """The score of a candidate at a stage is the reduction of the validation loss by it, in nats."""

    needs_base_path: ClassVar[bool] = True

    def plan(self, choices: Choices, paths: Sequence[PathNames], max_steps: int) -> PathPlan:
        runs = 1 + sum(len(choices.allowed[group[0]]) - 1 for group in choices.decisions)
        each = max_steps // runs
        if each < 1:
            raise ManticoreError(
                f"marginal trains {runs} paths, and the search has {max_steps} steps of the fine-tuning's batches; "
                "set search.steps higher"
            )
        return PathPlan(runs * each, each)

    def search(
        self, choices: Choices, base: str, paths: Sequence[PathNames], max_steps: int, trainer: PathTrainer
    ) -> PathScores:
        steps = self.plan(choices, paths, max_steps).longest
        return replaced_scores(choices, base, lambda path: trainer.loss(path, steps))
