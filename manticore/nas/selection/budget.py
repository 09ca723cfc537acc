"""The best path of a supernet within a budget of parameters or operations. Exact."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from manticore.errors import ManticoreError
from manticore.nas.cost import branch_costs, fixed_costs, position_costs
from manticore.nas.selection.best_path import best_path
from manticore.nas.supernet import Supernet


@dataclass(frozen=True)
class Budget:
    """The largest cost that a path may have; no limit by default.

    Attributes:
        max_parameters: number of parameters.
        max_flops: operations per token of a forward pass.
        length: tokens of the sequences on which operations are counted.
    """

    max_parameters: float | None = None
    max_flops: float | None = None
    length: int = 1

    @property
    def unlimited(self) -> bool:
        """Whether every path is within the budget."""
        return self.max_parameters is None and self.max_flops is None


def log_weight(weight: float) -> float:
    """Logarithm of a mixing weight, finite also where the weight underflows."""
    return math.log(max(weight, 1e-30))


def best_path_within(supernet: Supernet, scores_SK: Sequence[Sequence[float]], budget: Budget) -> list[str]:
    """The path with the largest sum of scores within the budget.

    Args:
        supernet: the supernet of the candidates.
        scores_SK: score of each candidate at each stage; scores add up along a path.
        budget: the limits; if both are set, only that of operations applies.

    Raises ManticoreError if no path is within the budget; the message says what the cheapest path costs.
    """
    if budget.unlimited:
        return [supernet.candidates[choice] for choice in best_path(scores_SK)]
    parameter_table, flop_table = branch_costs(supernet, budget.length)
    fixed_parameters, fixed_flops = fixed_costs(supernet, budget.length)
    if budget.max_flops is not None:
        chosen = best_path(scores_SK, flop_table, budget.max_flops, fixed_flops)
        return [supernet.candidates[choice] for choice in chosen]
    assert budget.max_parameters is not None
    # A donor's position table counts once, however many stages use it, so its cost does not add up along a path. For a
    # fixed set of allowed donors it is a constant: every set is solved by itself, and the best solution is kept.
    tables = position_costs(supernet)
    best: tuple[float, tuple[int, ...]] | None = None
    refusal: ManticoreError | None = None
    for used in (set(names) for size in range(len(tables) + 1) for names in combinations(tables, size)):
        allowed = [i for i, name in enumerate(supernet.candidates) if name not in tables or name in used]
        scores = [[row[i] for i in allowed] for row in scores_SK]
        costs = [[row[i] for i in allowed] for row in parameter_table]
        fixed = fixed_parameters + sum(tables[name] for name in used)
        try:
            choices = best_path(scores, costs, budget.max_parameters, fixed)
        except ManticoreError as error:
            refusal = refusal or error
            continue
        chosen = tuple(allowed[i] for i in choices)
        total = sum(row[i] for row, i in zip(scores_SK, chosen, strict=True))
        if best is None or total > best[0]:
            best = (total, chosen)
    if best is None:
        assert refusal is not None
        raise refusal
    return [supernet.candidates[choice] for choice in best[1]]
