"""Intervals against printed tables and closed forms, ranks against their definition, and the verdict's grammar."""

from __future__ import annotations

import math
import random
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manticore.errors import ManticoreError
from manticore.report.study.verdict import verdict
from manticore.utils.statistics import (
    Interval,
    mean_interval,
    paired_difference,
    ratio_interval,
    spearman,
    spearman_interval,
    student_cdf,
    student_quantile,
)

NUMBERS = st.floats(-1e3, 1e3).map(lambda x: round(x, 3))
SAMPLES = st.lists(NUMBERS, min_size=2, max_size=8)


@pytest.mark.parametrize(
    ("p", "freedom", "printed"),
    [
        *((0.975, 1, 12.706), (0.975, 2, 4.303), (0.975, 3, 3.182), (0.975, 4, 2.776), (0.975, 5, 2.571)),
        *((0.975, 9, 2.262), (0.975, 10, 2.228), (0.975, 29, 2.045), (0.975, 30, 2.042), (0.975, 120, 1.980)),
        *((0.95, 4, 2.132), (0.995, 2, 9.925), (0.995, 4, 4.604), (0.9, 1, 3.078), (0.9995, 3, 12.924)),
        *((0.75, 5, 0.727), (0.975, 1e6, 1.960), (0.025, 4, -2.776)),
    ],
)
def test_quantiles_are_those_of_the_tables(p: float, freedom: float, printed: float) -> None:
    assert student_quantile(p, freedom) == pytest.approx(printed, abs=6e-4)


@given(st.floats(1e-9, 0.9999))
def test_one_two_and_four_degrees_have_closed_forms(p: float) -> None:
    assert student_quantile(p, 1) == pytest.approx(-1 / math.tan(math.pi * p), rel=1e-9, abs=1e-9)
    assert student_quantile(p, 2) == pytest.approx((2 * p - 1) / math.sqrt(2 * p * (1 - p)), rel=1e-9, abs=1e-12)
    alpha = 4 * p * (1 - p)
    inner = math.cos(math.acos(min(1.0, math.sqrt(alpha))) / 3) / math.sqrt(alpha) - 1
    t = math.copysign(2 * math.sqrt(max(0.0, inner)), p - 0.5)
    assert student_quantile(p, 4) == pytest.approx(t, rel=1e-6, abs=1e-6)


@given(st.floats(1e-6, 1 - 1e-6), st.floats(0.5, 500))
def test_quantile_turns_the_distribution_round(p: float, freedom: float) -> None:
    t = student_quantile(p, freedom)
    assert student_cdf(t, freedom) == pytest.approx(p, rel=1e-9)
    assert student_cdf(-t, freedom) == pytest.approx(1 - p, rel=1e-9)


def test_the_distribution_is_the_integral_of_its_density() -> None:
    freedom, steps = 7.0, 2000
    peak = math.gamma(4) / (math.sqrt(7 * math.pi) * math.gamma(3.5))
    density = [peak * (1 + (2 * i / steps) ** 2 / freedom) ** -4 for i in range(steps + 1)]
    area = sum((a + b) / steps for a, b in pairwise(density))
    assert student_cdf(2.0, freedom) == pytest.approx(0.5 + area, abs=1e-6)
    assert student_cdf(0.0, freedom) == 0.5


@pytest.mark.parametrize(("p", "freedom"), [(0.0, 3), (1.0, 3), (0.5, 0), (math.nan, 2)])
def test_impossible_quantiles_are_refused(p: float, freedom: float) -> None:
    with pytest.raises(ManticoreError, match="no t quantile"):
        student_quantile(p, freedom)


def test_a_mean_by_hand() -> None:
    held = mean_interval([0.80, 0.82, 0.87])
    assert held.mean == pytest.approx(0.83)
    assert held.margin == pytest.approx(4.302653 * 0.0360555 / math.sqrt(3), rel=1e-5)
    assert held.low == pytest.approx(0.83 - held.margin)
    assert held.count == 3


def test_one_seed_has_no_interval_and_equal_seeds_one_point() -> None:
    assert mean_interval([0.1]) == Interval(0.1, None, None, 1)
    assert mean_interval([0.1]).margin is None
    assert not mean_interval([0.1]).excludes_zero
    assert mean_interval([0.1] * 3) == Interval(0.1, 0.1, 0.1, 3)


@pytest.mark.parametrize(
    ("values", "level", "message"),
    [([], 0.95, "no values"), ([1, math.nan], 0.95, "got nan"), ([1, math.inf], 0.95, "inf"), ([1, 2], 1.0, "got 1.0")],
)
def test_values_that_cannot_be_averaged_are_refused(values: list[float], level: float, message: str) -> None:
    with pytest.raises(ManticoreError, match=message):
        mean_interval(values, level)


@given(SAMPLES, NUMBERS, st.floats(0.1, 10))
def test_intervals_move_and_stretch_with_the_values(values: list[float], shift: float, scale: float) -> None:
    held, moved = mean_interval(values), mean_interval([scale * value + shift for value in values])
    assert held.low <= held.mean <= held.high
    near = {"rel": 1e-6, "abs": 1e-6}
    assert moved.mean == pytest.approx(scale * held.mean + shift, **near)
    assert moved.margin == pytest.approx(scale * held.margin, **near)


@given(SAMPLES, st.floats(0.5, 0.9), st.floats(0.91, 0.99))
def test_a_surer_interval_holds_the_less_sure_one(values: list[float], less: float, more: float) -> None:
    assert mean_interval(values, more).margin >= mean_interval(values, less).margin


def test_95_intervals_hold_the_truth_95_times_in_100() -> None:
    rng = random.Random(0)
    hits = 0
    for _ in range(1000):
        held = mean_interval([rng.gauss(0.3, 1) for _ in range(3)])
        hits += held.low <= 0.3 <= held.high
    assert 930 <= hits <= 970


def test_pairs_share_seeds_and_lose_what_seeds_do_to_both() -> None:
    ours, theirs = {0: 0.5, 1: 0.9, 2: 0.7, 3: 0.1}, {2: 0.6, 1: 0.8, 0: 0.4, 9: 0.0}
    held = paired_difference(ours, theirs)
    assert held.count == 3
    assert held.mean == pytest.approx(0.1)
    assert held.margin == pytest.approx(0, abs=1e-12)
    with pytest.raises(ManticoreError, match="no seed in common: 1 against 2, 3"):
        paired_difference({1: 0.0}, {2: 0.0, 3: 1.0})


@given(st.dictionaries(st.integers(0, 5), NUMBERS, min_size=2), st.dictionaries(st.integers(0, 5), NUMBERS, min_size=2))
def test_who_is_taken_from_whom_only_turns_the_sign(ours: dict[int, float], theirs: dict[int, float]) -> None:
    if ours.keys() & theirs.keys():
        one, two = paired_difference(ours, theirs), paired_difference(theirs, ours)
        assert one.mean == pytest.approx(-two.mean, abs=1e-9)
        assert one.margin == (two.margin and pytest.approx(two.margin, abs=1e-9))
        assert one.excludes_zero == two.excludes_zero


def test_spearman_by_hand() -> None:
    assert spearman([1, 2, 3, 4], [10, 20, 30, 99]) == pytest.approx(1)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]) == pytest.approx(1 - 6 * 4 / (5 * 24))
    assert spearman([1, 1, 2], [1, 2, 3]) == pytest.approx(math.sqrt(3) / 2)
    assert spearman([1, 1, 1], [1, 2, 3]) is None
    with pytest.raises(ManticoreError, match="at least two pairs, got 2 and 3 values"):
        spearman([1, 2], [1, 2, 3])


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=9))
def test_ranks_see_only_the_order(pairs: list[tuple[float, float]]) -> None:
    ours, theirs = [a for a, _ in pairs], [b for _, b in pairs]
    r = spearman(ours, theirs)
    turned = spearman([-a for a in ours], [b**3 for b in theirs])
    if r is None:
        assert turned is None
    else:
        assert -1 <= r <= 1
        assert turned == pytest.approx(-r)
        assert spearman(theirs, ours) == pytest.approx(r)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=9))
def test_a_correlation_lies_in_its_interval(pairs: list[tuple[float, float]]) -> None:
    held = spearman_interval([a for a, _ in pairs], [b for _, b in pairs])
    if held is not None and len(pairs) < 4:
        assert held.low is None
    elif held is not None:
        assert -1 <= held.low <= held.mean <= held.high <= 1
        assert held.high - held.low > 0.1, "nine pairs prove little"


def test_four_perfect_pairs_are_not_certain_and_many_are_nearly() -> None:
    few, many = (spearman_interval(range(n), range(n)) for n in (4, 50))
    assert few.low < 0 < many.low
    assert many.low > 0.99
    assert few.high == many.high == 1
    assert spearman_interval([1, 1, 1, 1, 1], range(5)) is None


WIN, MAYBE = Interval(0.1, 0.05, 0.15, 3), Interval(0.1, -0.05, 0.25, 3)
LOSS, MAYBE_LOSS = Interval(-0.1, -0.15, -0.05, 3), Interval(-0.1, -0.25, 0.05, 3)
TIE, ONE, ONE_LOSS = Interval(0.0, -0.1, 0.1, 3), Interval(0.1, None, None, 1), Interval(-0.1, None, None, 1)

DIFFERENCE = "the interval of the difference"


@pytest.mark.parametrize(
    ("held", "words"),
    [
        ([WIN], f"we beats you on task-0; {DIFFERENCE} excludes zero"),
        ([MAYBE], f"we beats you on task-0; {DIFFERENCE} includes zero"),
        ([LOSS], f"we loses to you on task-0; {DIFFERENCE} excludes zero"),
        ([TIE], f"we ties with you on task-0; {DIFFERENCE} includes zero"),
        ([ONE], "we beats you on task-0; with one seed there is no interval"),
        ([ONE, ONE_LOSS], "we beats you on 1 of 2 tasks and loses on 1; with one seed there is no interval"),
        ([WIN, WIN], f"we beats you on both tasks; {DIFFERENCE} excludes zero on both wins"),
        ([WIN] * 3, f"we beats you on all 3 tasks; {DIFFERENCE} excludes zero on all 3 wins"),
        ([LOSS, TIE], f"we beats you on neither of 2 tasks, loses on 1 and ties on 1; {DIFFERENCE} excludes zero on the"
            " one loss"),
        ([TIE] * 3, f"we ties with you on all 3 tasks; {DIFFERENCE} includes zero everywhere"),
        ([WIN] * 3 + [MAYBE, LOSS, MAYBE_LOSS], f"we beats you on 4 of 6 tasks and loses on 2; {DIFFERENCE} excludes "
            "zero on 3 of the 4 wins and 1 of the 2 losses"),
        ([WIN, WIN, MAYBE_LOSS, TIE], f"we beats you on 2 of 4 tasks, loses on 1 and ties on 1; {DIFFERENCE} excludes "
            "zero on both wins, but on no loss"),
        ([MAYBE, LOSS, TIE], f"we beats you on 1 of 3 tasks, loses on 1 and ties on 1; {DIFFERENCE} excludes zero on "
            "the one loss, but on no win"),
        ([MAYBE_LOSS, LOSS, TIE], f"we beats you on none of 3 tasks, loses on 2 and ties on 1; {DIFFERENCE} excludes "
            "zero on 1 of the 2 losses"),
        ([WIN, ONE, MAYBE], f"we beats you on all 3 tasks; {DIFFERENCE} excludes zero on 1 of the 3 wins; on 1 task "
            "there is one seed and no interval"),
        ([MAYBE, ONE, ONE_LOSS], f"we beats you on 2 of 3 tasks and loses on 1; {DIFFERENCE} includes zero wherever "
            "there is one; on 2 tasks there is one seed and no interval"),
    ],
)  # fmt: skip
def test_the_verdict_in_words(held: list[Interval], words: str) -> None:
    assert verdict("we", "you", {f"task-{place}": one for place, one in enumerate(held)}) == words


@given(st.lists(st.sampled_from([WIN, MAYBE, LOSS, MAYBE_LOSS, TIE, ONE, ONE_LOSS]), min_size=2, max_size=7))
def test_the_verdict_counts_every_task_once(held: list[Interval]) -> None:
    said = verdict("the hybrid", "the better component", {str(place): one for place, one in enumerate(held)})
    outcome, _, rest = said.partition("; ")
    counts = [int(number) for number in re.findall(r"(?:on|all) (\d+)(?! task)", outcome)]
    if "both" not in outcome and "all" not in outcome:
        assert sum(counts) == len(held)
    assert not re.search(r"\b1 (tasks|wins|losses)|\b(?!1\b)\d+ (task|win|loss)\b", said)
    assert ("no interval" in rest) == any(one.low is None for one in held)
    assert rest.count("excludes") <= 1
    assert ("excludes zero" in rest) == any(one.excludes_zero for one in held)


def test_no_task_no_verdict() -> None:
    with pytest.raises(ManticoreError, match="no task on which 'we' and 'you'"):
        verdict("we", "you", {})


def test_a_ratio_of_equal_units_is_a_mean() -> None:
    values = [0.1, 0.4, 0.2, 0.6]
    held, plain = ratio_interval([3 * value for value in values], [3.0] * 4), mean_interval(values)
    assert (held.mean, held.low, held.high) == pytest.approx((plain.mean, plain.low, plain.high))
    assert ratio_interval([2.0], [4]) == Interval(0.5, None, None, 1)


def test_the_interval_of_a_ratio_holds_the_truth_as_often_as_it_says() -> None:
    """Documents of very unlike sizes, each with a rate of its own."""
    draw, hits = random.Random(0), 0
    for _ in range(400):
        sizes = [draw.expovariate(1.0) + 0.2 for _ in range(30)]
        held = ratio_interval([size * draw.gauss(0.3, 0.2) for size in sizes], sizes)
        assert held.low is not None
        assert held.high is not None
        hits += held.low < 0.3 < held.high
    assert 0.9 < hits / 400 < 0.98
