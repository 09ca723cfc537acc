"""Trained marginal utility: what one replaced stage costs after a short training (GA-S2 in hybrid distillation).

The base alone, and every path that differs from it in one choice, are trained for T steps each, from the same weights
and on the same batches. With L(z) the validation loss of path z afterwards,

    u[s, k] = L(base) - L(base with stage s := k),   score of a path = sum_s u[s, z_s].

The sum takes stages to be independent. The selected path is trained from the start.
"""

from __future__ import annotations

from collections.abc import Sequence

from manticore.errors import ManticoreError
from manticore.nas.choices import Choices
from manticore.nas.selection.scores import PathNames, PathScores, StageScoreTable
from manticore.nas.strategies.base import strategies
from manticore.nas.strategies.path_training import PathStrategy, PathTrainer


@strategies.register("marginal")
class Marginal(PathStrategy):
    """The score of a candidate at a stage is the loss that it saves there, in nats."""

    def discarded_steps(self, choices: Choices, paths: Sequence[PathNames], steps: int) -> int:
        """All of them."""
        runs = 1 + sum(len(choices.allowed[group[0]]) - 1 for group in choices.decisions)
        return runs * (steps // runs)

    def search(
        self, choices: Choices, base: str, paths: Sequence[PathNames], steps: int, trainer: PathTrainer
    ) -> PathScores:
        start = (base,) * choices.stages
        single = [(group, index) for group in choices.decisions for index in choices.allowed[group[0]]]
        single = [(group, index) for group, index in single if choices.candidates[index] != base]
        each = steps // (1 + len(single))
        if each < 1:
            raise ManticoreError(f"{1 + len(single)} paths are to be trained, and the search has {steps} steps for all")
        reference = trainer.loss(start, each)
        values = [[0.0] * len(choices.candidates) for _ in range(choices.stages)]
        for group, index in single:
            path = tuple(choices.candidates[index] if stage in group else base for stage in range(choices.stages))
            for stage in group:
                values[stage][index] = (reference - trainer.loss(path, each)) / len(group)
        return StageScoreTable(choices.candidates, values)
