"""Successive halving of paths, whose winner keeps its training (arXiv 1502.07943).

All paths are trained for a few steps, the better half by validation loss goes on, and so forth until one is left. The
winner is the start of the fine-tuning: its weights, its optimizer and its position in the data are kept, so only the
steps of the losers are spent on the search. Each round has the same number of steps, divided among its paths:

    r_i = floor(T / (R n_i)),   n_(i+1) = ceil(n_i / 2),   R = ceil(log2 n_0) rounds.

A path that is slow at first can be lost in an early round: early loss is not late loss.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

from manticore.errors import ManticoreError
from manticore.nas.choices import Choices, PathNames
from manticore.nas.selection.scores import ListedScores, PathScores
from manticore.nas.strategies.base import strategies
from manticore.nas.strategies.path_training import PathPlan, PathStrategy, PathTrainer


@strategies.register("halving")
class Halving(PathStrategy):
    """Keep the better half of the paths, round by round. The score of a path is its round, then its rank there."""

    keeps_training: ClassVar[bool] = True

    def plan(self, choices: Choices, paths: Sequence[PathNames], max_steps: int) -> PathPlan:
        plan = rounds(len(paths), max_steps)
        longest = sum(more for _, more in plan)
        return PathPlan(sum(count * more for count, more in plan) - longest, longest)

    def search(
        self, choices: Choices, base: str, paths: Sequence[PathNames], max_steps: int, trainer: PathTrainer
    ) -> PathScores:
        scores, kept, trained = dict.fromkeys(paths, 0.0), list(paths), 0
        for number, (_, more) in enumerate(rounds(len(paths), max_steps), start=1):
            trained += more
            losses = {path: trainer.loss(path, trained) for path in kept}
            kept = sorted(kept, key=lambda path: losses[path])
            # Within a round between its number and the next, by rank: losses of other rounds cannot be compared.
            scores |= {path: number - rank / len(kept) for rank, path in enumerate(kept)}
            kept = kept[: math.ceil(len(kept) / 2)]
        return ListedScores(scores)


def rounds(paths: int, max_steps: int) -> list[tuple[int, int]]:
    """For each round the number of paths, and the steps that each of them is trained for.

    Raises ManticoreError if there is not a step for each path.
    """
    if paths == 1:
        return []
    count = math.ceil(math.log2(paths))
    plan = []
    for _ in range(count):
        plan.append((paths, max_steps // (count * paths)))
        paths = math.ceil(paths / 2)
    if plan[0][1] < 1:
        raise ManticoreError(
            f"halving {plan[0][0]} paths needs {count * plan[0][0]} steps of the fine-tuning's batches, and the search "
            f"has {max_steps}; set search.steps higher"
        )
    return plan
