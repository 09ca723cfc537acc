"""`best_path` selects the same path as a comparison of all paths."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manticore.errors import ManticoreError
from manticore.nas.selection import best_path

Table = list[list[float]]
SMALL = st.integers(-4, 4).map(float)


@st.composite
def tables(draw: st.DrawFn) -> tuple[Table, Table]:
    """Scores and costs of S stages and K candidates; small whole numbers, so that ties are common."""
    stages, candidates = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    row = st.lists(SMALL, min_size=candidates, max_size=candidates)
    table = st.lists(row, min_size=stages, max_size=stages)
    return draw(table), [[abs(cost) for cost in row] for row in draw(table)]


def total(table: Table, path: tuple[int, ...]) -> float:
    return sum(row[choice] for row, choice in zip(table, path, strict=True))


def paths(table: Table) -> list[tuple[int, ...]]:
    return list(product(*(range(len(row)) for row in table)))


@given(tables())
def test_without_a_budget_the_best_of_all_paths_is_selected(scores_and_costs: tuple[Table, Table]) -> None:
    scores, costs = scores_and_costs
    best = max(total(scores, path) for path in paths(scores))
    assert total(scores, best_path(scores)) == best
    assert total(scores, best_path(scores, costs)) == best


@given(tables(), st.integers(0, 12).map(float), st.integers(0, 3).map(float))
def test_within_a_budget_the_best_of_the_affordable_paths_is_selected(
    scores_and_costs: tuple[Table, Table], budget: float, fixed: float
) -> None:
    scores, costs = scores_and_costs
    affordable = [path for path in paths(scores) if fixed + total(costs, path) <= budget]
    if not affordable:
        with pytest.raises(ManticoreError, match="no path fits a budget"):
            best_path(scores, costs, budget, fixed)
        return
    selected = best_path(scores, costs, budget, fixed)
    assert selected in affordable
    assert total(scores, selected) == max(total(scores, path) for path in affordable)


def test_a_budget_below_all_paths_is_refused_with_the_lowest_cost() -> None:
    with pytest.raises(ManticoreError, match="no path fits a budget of 1,500: the cheapest costs 2,100"):
        best_path([[0.0, 1.0]], [[2000.0, 3000.0]], 1500.0, 100.0)


def test_the_first_of_equal_paths_is_selected() -> None:
    assert best_path([[1.0, 1.0], [0.0, 0.0]]) == (0, 0)
