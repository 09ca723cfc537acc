"""The path with the largest product of mixing weights, as in DARTS (arXiv 1806.09055, section 2.4)."""

from __future__ import annotations

import math

from manticore.nas.selection.base import SelectionContext, selectors
from manticore.nas.selection.scores import PathScores, StageScoreTable
from manticore.nas.supernet import Supernet

LARGEST_WEIGHT = "largest-weight"


@selectors.register(LARGEST_WEIGHT)
def largest_weight(supernet: Supernet, context: SelectionContext) -> PathScores:
    """Maximize `sum_s log w[s, path[s]]` within the budget."""
    weights_SK = supernet.weights().tolist()
    return StageScoreTable(supernet.candidates, [[log_weight(weight) for weight in row] for row in weights_SK])


def log_weight(weight: float) -> float:
    """Logarithm of a mixing weight, finite also where the weight underflows."""
    return math.log(max(weight, 1e-30))
