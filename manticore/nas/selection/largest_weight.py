"""The path with the largest product of mixing weights, as in DARTS (arXiv 1806.09055, section 2.4)."""

from __future__ import annotations

from manticore.nas.selection.base import SelectionContext, selectors
from manticore.nas.selection.budget import best_path_within, log_weight
from manticore.nas.supernet import Supernet

LARGEST_WEIGHT = "largest-weight"


@selectors.register(LARGEST_WEIGHT)
def largest_weight(supernet: Supernet, context: SelectionContext) -> list[str]:
    """Maximize `sum_s log w[s, path[s]]` within the budget."""
    scores_SK = [[log_weight(weight) for weight in row] for row in supernet.weights().tolist()]
    return best_path_within(supernet, scores_SK, context.budget)
