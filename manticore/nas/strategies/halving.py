"""Successive halving of paths (arXiv 1502.07943), after which the fine-tuning continues the training of the winner.

All paths are trained for a few steps, the half with the smaller validation losses is kept, and this is repeated until
one path is left. The fine-tuning continues the training of this winner with its weights, its optimizer and its position
in the data, so only the steps of the dropped paths are spent on the search. Each round has the same number of steps,
divided among its paths:

    r_i = floor(T / (R n_i)),   n_(i+1) = ceil(n_i / 2),   R = ceil(log2 n_0) rounds.

With R rounds by the option `rounds`, `n_i = ceil(n_0^(1 - i / R))`. The ranking of paths changes during training. With
fewer rounds, or a larger `first_share`, paths are compared after more training, but fewer steps are left to compare the
best ones.

A path of the worse half is kept as long as its loss exceeds that of the best path by no more than `margin` standard
errors of their paired difference. The paths that are dropped in the next round then share the steps that were planned
for fewer paths. So the search takes no more steps than planned, and the winner is trained for fewer steps before the
fine-tuning.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar

from manticore.errors import ManticoreError
from manticore.nas.choices import Choices, PathNames
from manticore.nas.selection.paired import MARGIN, survivors
from manticore.nas.selection.scores import ListedScores, PathScores
from manticore.nas.strategies.base import strategies
from manticore.nas.strategies.path_training import PathPlan, PathStrategy, PathTrainer
from manticore.utils.fields import Checked, NonNegativeFloat, NonNegativeInt, Range


@strategies.register("halving")
@dataclass(frozen=True)
class Halving(PathStrategy, Checked):
    """Keep the better half of the paths, round by round. The score of a path is its round, then its rank there."""

    keeps_training: ClassVar[bool] = True

    rounds: NonNegativeInt = 0
    """Number of rounds R; 0: the paths are halved until one is left."""

    first_share: Annotated[float, Range(least=0, below=1)] = 0.0
    """Share of the steps that the first round has; 0: all rounds have the same share."""

    margin: NonNegativeFloat = MARGIN
    """Standard errors by which a path must be worse than the best before it is dropped; 0: ranks decide."""

    def plan(self, choices: Choices, paths: Sequence[PathNames], max_steps: int) -> PathPlan:
        plan = rounds(len(paths), max_steps, self.rounds, self.first_share)
        longest = sum(more for _, more in plan)
        return PathPlan(sum(count * more for count, more in plan) - longest, longest)

    def search(
        self, choices: Choices, base: str, paths: Sequence[PathNames], max_steps: int, trainer: PathTrainer
    ) -> PathScores:
        scores, kept, trained = dict.fromkeys(paths, 0.0), list(paths), 0
        plan = rounds(len(paths), max_steps, self.rounds, self.first_share)
        for number, (count, more) in enumerate(plan, start=1):
            trained += (count - 1) * more // (len(kept) - 1)  # the losers have as many steps together as planned
            losses = {path: trainer.loss(path, trained) for path in kept}
            kept = sorted(kept, key=lambda path: losses[path])
            # Within a round between its number and the next, by rank: losses of other rounds cannot be compared.
            scores |= {path: number - rank / len(kept) for rank, path in enumerate(kept)}
            if number < len(plan):
                following, planned = plan[number]
                most = 1 + (following - 1) * planned  # each needs a step
                kept = survivors(kept, following, partial(trainer.difference, steps=trained), self.margin)[:most]
        return ListedScores(scores)


def rounds(paths: int, max_steps: int, count: int = 0, first_share: float = 0.0) -> list[tuple[int, int]]:
    """The number of paths of each round, and the number of steps that each of them is trained for.

    Args:
        paths: number of paths.
        max_steps: training steps of all rounds.
        count: number of rounds; 0: the paths are halved until one is left.
        first_share: share of the steps that the first round has; 0: all rounds have the same share.

    Raises ManticoreError if there is not a step for each path.
    """
    if paths == 1:
        return []
    halves = not count
    count = count or math.ceil(math.log2(paths))
    steps = [max_steps // count] * count
    if first_share and count > 1:
        first = round(first_share * max_steps)
        steps = [first, *[(max_steps - first) // (count - 1)] * (count - 1)]
    plan, left = [], paths
    for number in range(count):
        plan.append((left, steps[number] // left))
        left = math.ceil(left / 2) if halves else math.ceil(paths ** (1 - (number + 1) / count) - 1e-9)
    if plan[0][1] < 1:
        raise ManticoreError(
            f"halving {paths} paths needs {count * paths} steps of the fine-tuning's batches, and the search "
            f"has {max_steps}; set search.steps higher"
        )
    if min(more for _, more in plan) < 1:
        raise ManticoreError(f"halving has no step left after its first round; set first_share below {first_share}")
    return plan
