"""Counts and statistics of expressions; the expressions depend on the seed and not on the processes."""

from __future__ import annotations

import random
import sys
from collections import Counter
from itertools import islice, product

import numpy as np
import pytest

from manticore.errors import ManticoreError
from manticore.tasks.lra.listops.counts import population
from manticore.tasks.lra.listops.generate import generate
from manticore.tasks.lra.listops.grammar import CLOSE, Grammar, draws, evaluate

pytestmark = pytest.mark.slow

SMALL = Grammar(4, 32, max_depth=10, max_args=5)


def test_counts_agree_with_enumeration() -> None:
    # Within two levels and three arguments: ten digits, 4 * 10^2 pairs, 4 * 10^3 triples.
    assert population(Grammar(0, 20, max_depth=2, max_args=3)).distinct.nonzero()[0].tolist() == [1, 4, 5]
    assert population(Grammar(0, 20, max_depth=2, max_args=3)).available == 10 + 400 + 4000
    # Three levels and pairs only: each argument is a digit or one of the 400 pairs of digits.
    assert population(Grammar(0, 20, max_depth=3, max_args=2)).available == 10 + 4 * 410**2


def test_lengths_are_as_likely_as_the_recursion_says() -> None:
    grammar = Grammar(0, 400, max_depth=4, max_args=5)
    trees = 20_000
    lengths = Counter(len(codes or b"") for codes in islice(draws(random.Random(0), grammar), trees))
    expected = population(grammar).probability * trees
    for length in range(1, 30):
        assert lengths[length] == pytest.approx(expected[length], abs=5 * expected[length] ** 0.5 + 1)


@pytest.fixture(scope="module")
def official() -> list[tuple[bytes, int]]:
    return generate(Grammar(), 4000, seed=1, workers=1)


def test_official_lengths_and_acceptance(official: list[tuple[bytes, int]]) -> None:
    lengths = [len(codes) for codes, _ in official]
    assert min(lengths) >= 501
    assert max(lengths) <= 1999
    counts = population(Grammar())
    inside = counts.probability[501:2000]
    mean = float(inside @ np.arange(501, 2000) / inside.sum())
    assert np.mean(lengths) == pytest.approx(mean, rel=0.02)


def test_official_labels_have_the_known_statistics(official: list[tuple[bytes, int]]) -> None:
    labels = Counter(value for _, value in official)
    by_root: dict[int, Counter[int]] = {}
    for codes, value in official:
        by_root.setdefault(codes[0], Counter())[value] += 1
    # Four standard deviations of a share on 4000 examples are 2.4 and 3.0 points.
    assert labels.most_common(1)[0][1] / 4000 == pytest.approx(0.170, abs=0.024)
    assert sum(counts.most_common(1)[0][1] for counts in by_root.values()) / 4000 == pytest.approx(0.362, abs=0.03)
    assert by_root[10].most_common(1)[0][0] == 0
    assert by_root[11].most_common(1)[0][0] == 9
    assert all(evaluate(codes) == value for codes, value in official[:200])


def test_expressions_are_distinct_and_depend_on_the_seed() -> None:
    first = generate(SMALL, 3000, seed=0)
    assert len({codes for codes, _ in first}) == 3000
    assert generate(SMALL, 3000, seed=0) == first
    assert generate(SMALL, 3000, seed=1) != first


@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_processes_changes_nothing(workers: int) -> None:
    assert generate(SMALL, 2000, seed=5, workers=workers) == generate(SMALL, 2000, seed=5, workers=1)


def test_a_worker_that_dies_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(ManticoreError, match="ended early"):
        generate(SMALL, 10, workers=2)


def test_the_whole_space_can_be_drawn() -> None:
    drawn = generate(Grammar(0, 5), 410, seed=0)
    pairs = {bytes([op, a, b, CLOSE]) for op, a, b in product(range(10, 14), range(10), range(10))}
    assert {codes for codes, _ in drawn} == pairs | {bytes([digit]) for digit in range(10)}


@pytest.mark.parametrize(
    ("grammar", "total", "message"),
    [
        (Grammar(0, 5), 411, "only 410 can be drawn"),
        (Grammar(1, 4), 1, "only 0 can be drawn"),
        (Grammar(0, 100, max_depth=1), 11, "only 10 can be drawn"),
        (Grammar(20, 100, max_depth=2), 1, "only 0 can be drawn"),
        (Grammar(3, 5, max_depth=2, max_args=300_000), 1, "too rare"),
        (Grammar(20_000, 20_002, max_depth=6), 1, "only 0 can be drawn"),
    ],
)
def test_impossible_requests_fail_at_once(grammar: Grammar, total: int, message: str) -> None:
    with pytest.raises(ManticoreError, match=message) as failure:
        generate(grammar, total)
    assert "\n" not in str(failure.value)


def test_drawing_stops_without_new_expressions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("manticore.tasks.lra.listops.generate.MIN_DRAWS", 0)
    monkeypatch.setattr("manticore.tasks.lra.listops.generate.draw_chunk", lambda *_: [(b"\x01", 1)] * 250)
    with pytest.raises(ManticoreError, match="found only 1 distinct ListOps expressions of the 50"):
        generate(SMALL, 50, workers=1)
