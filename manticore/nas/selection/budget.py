"""The best path of a supernet within a budget of parameters or operations. Exact."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

from manticore.errors import ManticoreError
from manticore.nas.choices import Choices
from manticore.nas.cost import PathCosts, branch_costs, fixed_costs, position_costs
from manticore.nas.selection.best_path import best_path
from manticore.nas.supernet import Supernet

StageTable = Sequence[Sequence[float]]
"""A score or a cost for each stage and candidate, (S, K)."""

Solver = Callable[[set[int], StageTable | None, float | None, float], tuple[int, ...]]
"""See `solve_within`."""


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

    @property
    def summary(self) -> str:
        """The limit that applies, with its unit and its recipe key."""
        if self.max_flops is not None:
            return f"{self.max_flops:,.0f} FLOPs per token (selection.max_flops)"
        return f"{self.max_parameters or 0:,.0f} parameters (selection.max_parameters)"

    def allows(self, costs: PathCosts, path: Sequence[str]) -> bool:
        """Whether a path is within the limits; if both are set, only that of operations applies."""
        if self.max_flops is not None:
            return costs.flops(path) <= self.max_flops
        return self.max_parameters is None or costs.parameters(path) <= self.max_parameters


def best_path_within(supernet: Supernet, scores_SK: Sequence[Sequence[float]], budget: Budget) -> list[str]:
    """The path with the largest sum of scores within the budget.

    Args:
        supernet: the supernet of the candidates.
        scores_SK: score of each candidate at each stage; scores add up along a path. Those of candidates that a stage
            does not have are not read.
        budget: the limits; if both are set, only that of operations applies.

    Raises ManticoreError if no path is within the budget; the message has the cost of the cheapest path.
    """

    def solve(usable: set[int], costs: StageTable | None, limit: float | None, fixed: float) -> tuple[int, ...]:
        return _best_choices(supernet.choices, scores_SK, usable, costs, limit, fixed)

    def total(chosen: Sequence[int]) -> float:
        return sum(row[index] for row, index in zip(scores_SK, chosen, strict=True))

    return solve_within(supernet, budget, solve, total)


def solve_within(
    supernet: Supernet, budget: Budget, solve: Solver, total: Callable[[Sequence[int]], float]
) -> list[str]:
    """The best path within the budget by a solver for costs that add up along a path.

    Args:
        supernet: the supernet of the candidates.
        budget: the limits; if both are set, only that of operations applies.
        solve: from the usable candidates, costs (S, K) or None, the limit and the cost of what every path has to the
            index of the candidate of each stage. Raises ManticoreError if no path is within the limit.
        total: the score of a path of such indices.

    Raises ManticoreError if no path is within the budget; the message has the smallest path and its cost.
    """
    everything = set(range(len(supernet.candidates)))
    if budget.unlimited:
        return _names(supernet, solve(everything, None, None, 0.0))
    parameter_table, flop_table = branch_costs(supernet, budget.length)
    fixed_parameters, fixed_flops = fixed_costs(supernet, budget.length)
    if budget.max_flops is not None:
        limit, table, cases = budget.max_flops, flop_table, [(everything, fixed_flops)]
    else:
        # The parameters of a path include the position tables of its donors: one case for each set of donors.
        assert budget.max_parameters is not None
        limit, table, cases = budget.max_parameters, parameter_table, _allowed_donors(supernet, fixed_parameters)
    cheapest, path = _cheapest(supernet, table, cases)
    if cheapest > limit:
        raise ManticoreError(
            f"no path fits the budget of {budget.summary}: the smallest, {' · '.join(path)}, needs {cheapest:,.0f}"
        )
    best: tuple[float, tuple[int, ...]] | None = None
    for usable, fixed in cases:
        try:
            chosen = solve(usable, table, limit, fixed)
        except ManticoreError:
            continue  # the smallest path needs other donors
        if best is None or total(chosen) > best[0]:
            best = (total(chosen), chosen)
    assert best is not None
    return _names(supernet, best[1])


def _allowed_donors(supernet: Supernet, fixed: float) -> list[tuple[set[int], float]]:
    """Sets of usable candidates, each with the parameters that every path of them has.

    A donor's position table counts once, however many stages use it, so its cost does not add up along a path. For a
    fixed set of allowed donors it is a constant: every set is solved by itself, and the best solution is kept.
    """
    tables, choices = position_costs(supernet), supernet.choices
    cases = []
    for used in (set(names) for size in range(len(tables) + 1) for names in combinations(tables, size)):
        usable = {i for i, name in enumerate(supernet.candidates) if name not in tables or name in used}
        if all(usable.intersection(allowed) for allowed in choices.allowed):  # no stage needs another donor
            cases.append((usable, fixed + sum(tables[name] for name in used)))
    return cases


def _cheapest(
    supernet: Supernet, costs_SK: StageTable, cases: Sequence[tuple[set[int], float]]
) -> tuple[float, list[str]]:
    """The smallest cost of a path, and the path."""
    smallest = []
    gains = [[-cost for cost in row] for row in costs_SK]  # the cheapest path has the largest sum of negative costs
    for usable, fixed in cases:
        chosen = _best_choices(supernet.choices, gains, usable)
        cost = fixed + sum(row[index] for row, index in zip(costs_SK, chosen, strict=True))
        smallest.append((cost, _names(supernet, chosen)))
    return min(smallest, key=lambda pair: pair[0])


def _best_choices(
    choices: Choices,
    scores_SK: Sequence[Sequence[float]],
    usable: set[int],
    costs_SK: Sequence[Sequence[float]] | None = None,
    budget: float | None = None,
    fixed: float = 0.0,
) -> tuple[int, ...]:
    """`best_path` over decisions: scores and costs of stages that choose together are added.

    `usable` has the indices of the candidates that may be chosen where a stage has them. Returns one for each stage.
    """
    allowed = [[index for index in choices.allowed[group[0]] if index in usable] for group in choices.decisions]

    def of_decisions(table_SK: Sequence[Sequence[float]]) -> list[list[float]]:
        pairs = zip(choices.decisions, allowed, strict=True)
        return [[sum(table_SK[stage][index] for stage in group) for index in indices] for group, indices in pairs]

    costs = None if costs_SK is None else of_decisions(costs_SK)
    chosen = best_path(of_decisions(scores_SK), costs, budget, fixed)
    return choices.expand([indices[choice] for indices, choice in zip(allowed, chosen, strict=True)])


def _names(supernet: Supernet, chosen: Sequence[int]) -> list[str]:
    return [supernet.candidates[choice] for choice in chosen]
