"""The best path is what trying all paths would find."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manticore.errors import ManticoreError
from manticore.nas.selection import best_path

SMALL = st.integers(-4, 4).map(float)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[list[float]], list[list[float]]]:
    """Scores and costs of S stages and K candidates; small whole numbers, so that ties are common."""
    stages, candidates = draw(st.integers(1, 5)), draw(st.integers(1, 4))
    row = st.lists(SMALL, min_size=candidates, max_size=candidates)
    table = st.lists(row, min_size=stages, max_size=stages)
    return draw(table), [[abs(cost) for cost in row] for row in draw(table)]


def total(table: list[list[float]], path: tuple[int, ...]) -> float:
    return sum(row[choice] for row, choice in zip(table, path, strict=True))


def paths(table: list[list[float]]) -> list[tuple[int, ...]]:
    return list(product(*(range(len(row)) for row in table)))


@given(tables())
def test_without_a_budget(held: tuple[list[list[float]], list[list[float]]]) -> None:
    scores, costs = held
    best = max(total(scores, path) for path in paths(scores))
    assert total(scores, best_path(scores)) == best
    assert total(scores, best_path(scores, costs)) == best


@given(tables(), st.integers(0, 12).map(float), st.integers(0, 3).map(float))
def test_within_a_budget(held: tuple[list[list[float]], list[list[float]]], budget: float, fixed: float) -> None:
    scores, costs = held
    within = [path for path in paths(scores) if fixed + total(costs, path) <= budget]
    if not within:
        with pytest.raises(ManticoreError, match="no path fits a budget"):
            best_path(scores, costs, budget, fixed)
        return
    found = best_path(scores, costs, budget, fixed)
    assert found in within
    assert total(scores, found) == max(total(scores, path) for path in within)


def test_a_budget_that_nothing_fits_names_the_cheapest() -> None:
    with pytest.raises(ManticoreError, match="no path fits a budget of 1,500: the cheapest costs 2,100"):
        best_path([[0.0, 1.0]], [[2000.0, 3000.0]], 1500.0, 100.0)


def test_among_equals_the_first_is_taken() -> None:
    assert best_path([[1.0, 1.0], [0.0, 0.0]]) == (0, 0)
