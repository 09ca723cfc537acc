"""The solver selects the same path as a comparison of all paths."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from manticore.components.spec import SKIP
from manticore.nas.choices import Choices
from manticore.nas.cost import CostTable
from manticore.nas.selection.solver import Bound, Problem

Table = list[list[float]]
Paths = list[tuple[int, ...]]
SMALL = st.integers(-4, 4).map(float)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Problem, Paths]:
    """Scores, pairs, and bounds of S stages and K candidates; small whole numbers, so that ties are common."""
    stages, count = draw(st.integers(1, 4)), draw(st.integers(1, 3))

    def table(rows: int) -> Table:
        return draw(st.lists(st.lists(SMALL, min_size=count, max_size=count), min_size=rows, max_size=rows))

    names = [SKIP, *map(str, range(1, count))] if draw(st.booleans()) else [*map(str, range(count))]
    bounds = []
    for _ in range(draw(st.integers(0, 2))):
        costs = tuple(tuple(map(abs, row)) for row in table(stages))
        once = {0: 3.0} if draw(st.booleans()) else {}
        least, most = draw(st.sampled_from([(-9e9, 6.0), (3.0, 9e9), (2.0, 7.0)]))
        bounds.append(Bound(CostTable(costs, draw(st.integers(0, 3)), once), least, most))
    pairs = [table(count) for _ in range(stages - 1)] if draw(st.booleans()) else []
    groups: list[tuple[int, ...]] = [(stage,) for stage in range(stages)]
    if stages > 2 and draw(st.booleans()):
        groups = [(0, stages - 1), *groups[1:-1]]
    choices = Choices(tuple(names), (tuple(range(count)),) * stages, tuple(groups))
    paths = [
        path
        for path in product(range(count), repeat=stages)
        if all(path[stage] == path[choices.rows[stage]] for stage in range(stages))
        and any(names[index] != SKIP for index in path)
    ]
    return Problem(choices, table(stages), pairs, bounds), paths


def score(problem: Problem, path: tuple[int, ...]) -> float:
    total = sum(row[index] for row, index in zip(problem.scores, path, strict=True))
    return total + sum(table[a][b] for table, a, b in zip(problem.pairs, path, path[1:], strict=False))


@given(problems())
def test_the_best_of_all_paths_within_the_bounds_is_selected(drawn: tuple[Problem, Paths]) -> None:
    problem, paths = drawn
    allowed = [path for path in paths if all(bound.allows(bound.table.of(path)) for bound in problem.bounds)]
    best = problem.best()
    if not allowed:
        assert best is None
        return
    assert best in allowed
    assert score(problem, best) == max(score(problem, path) for path in allowed)


@given(problems())
def test_the_nearest_path_exceeds_the_bounds_least(drawn: tuple[Problem, Paths]) -> None:
    problem, paths = drawn
    if not paths:
        return

    def excess(path: tuple[int, ...]) -> float:
        return max((bound.excess(bound.table.of(path)) for bound in problem.bounds), default=0.0)

    assert excess(problem.nearest()) == min(map(excess, paths))


def test_the_first_of_equal_paths_is_selected() -> None:
    assert Problem(Choices.free(["a", "b"], 2), [[1.0, 1.0], [0.0, 0.0]]).best() == (0, 0)
