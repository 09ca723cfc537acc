"""Intervals against reference values, ranks against their definition."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from manticore.errors import ManticoreError
from manticore.utils.statistics import (
    Interval,
    kendall,
    mean_interval,
    paired_difference,
    ratio_interval,
    spearman,
    spearman_interval,
    student_quantile,
)

NUMBERS = st.floats(-1e3, 1e3).map(lambda x: round(x, 3))
SAMPLES = st.lists(NUMBERS, min_size=2, max_size=8)
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=9)


@pytest.mark.parametrize(
    ("p", "df", "value"),
    [  # computed independently, from the continued fraction of the incomplete beta function
        (0.975, 1, 12.706204736174687),
        (0.975, 2, 4.302652729749459),
        (0.975, 3, 3.1824463052837073),
        (0.975, 4, 2.7764451051977934),
        (0.975, 9, 2.2621571627982036),
        (0.975, 30, 2.0422724563012338),
        (0.995, 2, 9.92484320091829),
        (0.9995, 3, 12.923978636687966),
        (0.025, 4, -2.7764451051977943),
    ],
)
def test_student_quantiles(p: float, df: int, value: float) -> None:
    assert student_quantile(p, df) == pytest.approx(value, rel=1e-12)


def test_intervals_to_twelve_digits() -> None:
    mean = mean_interval([0.80, 0.82, 0.87, 0.75])
    assert (mean.mean, mean.low, mean.high) == pytest.approx((0.81, 0.7309710299971677, 0.8890289700028324), rel=1e-12)
    ratio = ratio_interval([1.0, 2.5, 4.0, 0.5], [2, 4, 9, 1])
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx(
        (0.5, 0.3375964670468612, 0.6624035329531388), rel=1e-12
    )
    ranks = spearman_interval([1, 2, 2, 4, 7, 5], [1, 3, 2, 6, 4, 5])
    assert ranks is not None
    expected = (0.753702346348183, -0.292032547357004, 0.9786149676566027)
    assert (ranks.mean, ranks.low, ranks.high) == pytest.approx(expected, rel=1e-12)


def test_a_mean_by_hand() -> None:
    interval = mean_interval([0.80, 0.82, 0.87])
    assert interval.mean == pytest.approx(0.83)
    assert interval.margin == pytest.approx(4.302653 * 0.0360555 / math.sqrt(3), rel=1e-5)
    assert interval.low == pytest.approx(0.83 - interval.margin)
    assert interval.count == 3


def test_one_value_has_no_interval_and_equal_values_have_one_of_width_zero() -> None:
    assert mean_interval([0.1]) == Interval(0.1, None, None, 1)
    assert mean_interval([0.1]).margin is None
    assert not mean_interval([0.1]).excludes_zero
    assert mean_interval([0.1] * 3) == Interval(0.1, 0.1, 0.1, 3)


@pytest.mark.parametrize(
    ("values", "level", "message"),
    [([], 0.95, "no values"), ([1, math.nan], 0.95, "got nan"), ([1, math.inf], 0.95, "inf"), ([1, 2], 1.0, "got 1.0")],
)
def test_values_without_a_mean_are_rejected(values: list[float], level: float, message: str) -> None:
    with pytest.raises(ManticoreError, match=message):
        mean_interval(values, level)


@given(SAMPLES, NUMBERS, st.floats(0.1, 10))
def test_intervals_shift_and_scale_with_the_values(values: list[float], shift: float, scale: float) -> None:
    interval, transformed = mean_interval(values), mean_interval([scale * value + shift for value in values])
    assert interval.low <= interval.mean <= interval.high
    near = {"rel": 1e-6, "abs": 1e-6}
    assert transformed.mean == pytest.approx(scale * interval.mean + shift, **near)
    assert transformed.margin == pytest.approx(scale * interval.margin, **near)


@given(SAMPLES, st.floats(0.5, 0.9), st.floats(0.91, 0.99))
def test_a_higher_level_gives_a_wider_interval(values: list[float], low: float, high: float) -> None:
    assert mean_interval(values, high).margin >= mean_interval(values, low).margin


def test_95_percent_intervals_cover_the_true_mean_in_95_percent_of_samples() -> None:
    rng = random.Random(0)
    hits = 0
    for _ in range(1000):
        interval = mean_interval([rng.gauss(0.3, 1) for _ in range(3)])
        hits += interval.low <= 0.3 <= interval.high
    assert 930 <= hits <= 970


def test_paired_differences_use_common_seeds_and_cancel_their_effect() -> None:
    a, b = {0: 0.5, 1: 0.9, 2: 0.7, 3: 0.1}, {2: 0.6, 1: 0.8, 0: 0.4, 9: 0.0}
    interval = paired_difference(a, b)
    assert interval.count == 3
    assert interval.mean == pytest.approx(0.1)
    assert interval.margin == pytest.approx(0, abs=1e-12)
    with pytest.raises(ManticoreError, match="no seed in common: 1 against 2, 3"):
        paired_difference({1: 0.0}, {2: 0.0, 3: 1.0})


@given(st.dictionaries(st.integers(0, 5), NUMBERS, min_size=2), st.dictionaries(st.integers(0, 5), NUMBERS, min_size=2))
def test_swapping_the_sides_of_a_difference_changes_its_sign(a: dict[int, float], b: dict[int, float]) -> None:
    if a.keys() & b.keys():
        forward, backward = paired_difference(a, b), paired_difference(b, a)
        assert forward.mean == pytest.approx(-backward.mean, abs=1e-9)
        assert forward.margin == (backward.margin and pytest.approx(backward.margin, abs=1e-9))
        assert forward.excludes_zero == backward.excludes_zero


def test_kendall_by_hand() -> None:
    assert kendall([1, 2, 3, 4], [10, 20, 30, 99]) == pytest.approx(1)
    assert kendall([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3), "two pairs agree, one does not"
    assert kendall([1, 1, 2], [1, 2, 3]) == pytest.approx(2 / math.sqrt(2 * 3)), "tau-b: a tie on one side"
    assert kendall([1, 1, 1], [1, 2, 3]) is None
    with pytest.raises(ManticoreError, match="at least two pairs"):
        kendall([1], [1])


def test_spearman_by_hand() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 30, 99]) == 1
    assert spearman([1, 2, 3], [3, 2, 1]) == -1
    assert spearman([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]) == pytest.approx(1 - 6 * 4 / (5 * 24))
    assert spearman([1, 1, 2], [1, 2, 3]) == pytest.approx(math.sqrt(3) / 2)
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    with pytest.raises(ManticoreError, match="at least two pairs, got 2 and 3 values"):
        spearman([1, 2], [1, 2, 3])


@given(PAIRS)
def test_spearman_is_that_of_scipy(pairs: list[tuple[float, float]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    if (r := spearman(a, b)) is None:
        assert len(set(a)) == 1 or len(set(b)) == 1
    else:
        assert r == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)


@given(PAIRS)
def test_spearman_depends_on_the_order_alone(pairs: list[tuple[float, float]]) -> None:
    a, b = [x for x, _ in pairs], [y for _, y in pairs]
    r = spearman(a, b)
    transformed = spearman([-x for x in a], [y**3 for y in b])
    if r is None:
        assert transformed is None
    else:
        assert -1 <= r <= 1
        assert transformed == pytest.approx(-r)
        assert spearman(b, a) == pytest.approx(r)


@given(PAIRS)
def test_a_correlation_lies_in_its_interval(pairs: list[tuple[float, float]]) -> None:
    interval = spearman_interval([x for x, _ in pairs], [y for _, y in pairs])
    if interval is not None and len(pairs) < 4:
        assert interval.low is None
    elif interval is not None:
        assert -1 <= interval.low <= interval.mean <= interval.high <= 1
        assert interval.high - interval.low > 0.1, "nine pairs prove little"


def test_the_interval_of_a_perfect_correlation_shrinks_with_the_number_of_pairs() -> None:
    few, many = (spearman_interval(range(n), range(n)) for n in (4, 50))
    assert few.low < 0 < many.low
    assert many.low > 0.99
    assert few.high == many.high == 1
    assert spearman_interval([1, 1, 1, 1, 1], range(5)) is None


def test_a_ratio_of_units_of_equal_size_is_a_mean() -> None:
    values = [0.1, 0.4, 0.2, 0.6]
    ratio, mean = ratio_interval([3 * value for value in values], [3.0] * 4), mean_interval(values)
    assert (ratio.mean, ratio.low, ratio.high) == pytest.approx((mean.mean, mean.low, mean.high))
    assert ratio_interval([2.0], [4]) == Interval(0.5, None, None, 1)


def test_95_percent_intervals_of_a_ratio_cover_the_true_rate() -> None:
    """Documents of very unequal sizes, each with a rate of its own."""
    rng, hits = random.Random(0), 0
    for _ in range(400):
        sizes = [rng.expovariate(1.0) + 0.2 for _ in range(30)]
        interval = ratio_interval([size * rng.gauss(0.3, 0.2) for size in sizes], sizes)
        assert interval.low is not None
        assert interval.high is not None
        hits += interval.low < 0.3 < interval.high
    assert 0.9 < hits / 400 < 0.98
