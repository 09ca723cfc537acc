"""The sentence that concludes a comparison: wins, losses and ties are counted once, and the grammar is right."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manticore.errors import ManticoreError
from manticore.report.study.summary import conclusion
from manticore.utils.statistics import Interval

WIN, MAYBE = Interval(0.1, 0.05, 0.15, 3), Interval(0.1, -0.05, 0.25, 3)
LOSS, MAYBE_LOSS = Interval(-0.1, -0.15, -0.05, 3), Interval(-0.1, -0.25, 0.05, 3)
TIE, ONE, ONE_LOSS = Interval(0.0, -0.1, 0.1, 3), Interval(0.1, None, None, 1), Interval(-0.1, None, None, 1)

DIFFERENCE = "the interval of the difference"


@pytest.mark.parametrize(
    ("intervals", "sentence"),
    [
        ([WIN], f"it beats ssm on task-0; {DIFFERENCE} excludes zero"),
        ([MAYBE], f"it beats ssm on task-0; {DIFFERENCE} includes zero"),
        ([LOSS], f"it loses to ssm on task-0; {DIFFERENCE} excludes zero"),
        ([TIE], f"it ties with ssm on task-0; {DIFFERENCE} includes zero"),
        ([ONE], "it beats ssm on task-0"),
        ([ONE, ONE_LOSS], "it beats ssm on 1 of 2 tasks and loses on 1"),
        ([WIN, WIN], f"it beats ssm on both tasks; {DIFFERENCE} excludes zero on both wins"),
        ([WIN] * 3, f"it beats ssm on all 3 tasks; {DIFFERENCE} excludes zero on all 3 wins"),
        ([LOSS, TIE], f"it beats ssm on neither of 2 tasks, loses on 1 and ties on 1; {DIFFERENCE} excludes zero on the"
            " one loss"),
        ([TIE] * 3, f"it ties with ssm on all 3 tasks; {DIFFERENCE} includes zero everywhere"),
        ([WIN] * 3 + [MAYBE, LOSS, MAYBE_LOSS], f"it beats ssm on 4 of 6 tasks and loses on 2; {DIFFERENCE} excludes "
            "zero on 3 of the 4 wins and 1 of the 2 losses"),
        ([WIN, WIN, MAYBE_LOSS, TIE], f"it beats ssm on 2 of 4 tasks, loses on 1 and ties on 1; {DIFFERENCE} excludes "
            "zero on both wins, but on no loss"),
        ([MAYBE, LOSS, TIE], f"it beats ssm on 1 of 3 tasks, loses on 1 and ties on 1; {DIFFERENCE} excludes zero on "
            "the one loss, but on no win"),
        ([MAYBE_LOSS, LOSS, TIE], f"it beats ssm on none of 3 tasks, loses on 2 and ties on 1; {DIFFERENCE} excludes "
            "zero on 1 of the 2 losses"),
        ([WIN, ONE, MAYBE], f"it beats ssm on all 3 tasks; {DIFFERENCE} excludes zero on 1 of the 3 wins; on 1 task "
            "there is one seed and no interval"),
        ([MAYBE, ONE, ONE_LOSS], f"it beats ssm on 2 of 3 tasks and loses on 1; {DIFFERENCE} includes zero wherever "
            "there is one; on 2 tasks there is one seed and no interval"),
    ],
)  # fmt: skip
def test_the_conclusion(intervals: list[Interval], sentence: str) -> None:
    assert conclusion("it", "ssm", {f"task-{index}": interval for index, interval in enumerate(intervals)}) == sentence


@given(st.lists(st.sampled_from([WIN, MAYBE, LOSS, MAYBE_LOSS, TIE, ONE, ONE_LOSS]), min_size=2, max_size=7))
def test_the_conclusion_counts_every_task_once(intervals: list[Interval]) -> None:
    sentence = conclusion(
        "the hybrid", "the better component", {str(index): interval for index, interval in enumerate(intervals)}
    )
    outcome, _, rest = sentence.partition("; ")
    counts = [int(number) for number in re.findall(r"(?:on|all) (\d+)(?! task)", outcome)]
    if "both" not in outcome and "all" not in outcome:
        assert sum(counts) == len(intervals)
    assert not re.search(r"\b1 (tasks|wins|losses)|\b(?!1\b)\d+ (task|win|loss)\b", sentence)
    single = [interval.low is None for interval in intervals]
    assert ("no interval" in rest) == (any(single) and not all(single))
    assert rest.count("excludes") <= 1
    assert ("excludes zero" in rest) == any(interval.excludes_zero for interval in intervals)


def test_without_tasks_there_is_no_conclusion() -> None:
    with pytest.raises(ManticoreError, match="no task on which 'it' and 'ssm'"):
        conclusion("it", "ssm", {})
