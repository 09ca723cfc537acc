"""What is told of results follows from them."""

from __future__ import annotations

from statistics import fmean

import pytest

from manticore.contest.meeting import Meeting
from manticore.contest.standing import (
    better_component,
    correlation,
    differences,
    exported,
    gap,
    path_rows,
    regret,
    verdicts,
)
from manticore.contest.trials import Trial
from tests.contest.contests import recipe, seed_of, told

PATHS = {"gpt-neo gpt-neo": 0.2, "gpt-neo mamba": 0.5, "mamba gpt-neo": 0.8, "mamba mamba": 0.6}


def accuracy(held: Trial) -> float:
    """Paths from scratch as in PATHS, hybrids 0.7, everything else 0.4; later seeds a little better."""
    path = held["terms"].get("path")
    base = PATHS[" ".join(path)] if path else {"hybrid": 0.7}.get(held["contender"], 0.4)
    return base + 0.01 * seed_of(held)


@pytest.fixture(scope="module")
def found():  # type: ignore[no-untyped-def]
    """Tables and paths of a contest whose hybrids ran gpt-neo, mamba."""
    return told(Meeting(recipe(paths=True), "data"), accuracy)[0]


def test_rows(found) -> None:  # type: ignore[no-untyped-def]
    rows = {row["name"]: row for row in found["tables"]["tokens"]}
    hybrid = rows["hybrid"]
    assert hybrid["values"] == {"0": 0.7, "1": pytest.approx(0.71)}
    assert hybrid["accuracy"]["mean"] == pytest.approx(0.705)
    assert hybrid["path"] == "gpt-neo · mamba (2 of 2 seeds)"
    assert rows["mamba alone"]["path"] is None
    assert gap(hybrid)["finetuned"] == hybrid["accuracy"]  # type: ignore[index]
    assert gap(rows["hub"]) is None
    assert better_component(list(rows.values()))["name"] == "mamba alone"  # type: ignore[index]


def test_differences_are_paired_over_seeds(found) -> None:  # type: ignore[no-untyped-def]
    held = differences(found["tables"]["tokens"])
    assert held["mamba alone"] == pytest.approx({"mean": 0.1, "low": 0.1, "high": 0.1, "count": 2})
    assert "hybrid" not in held


def test_regret_is_told_of_paths_from_scratch(found) -> None:  # type: ignore[no-untyped-def]
    hybrid = found["tables"]["tokens"][0]
    paths = path_rows(found["paths"], hybrid)
    assert [held["chosen"] for held in paths] == [0, 2, 0, 0]
    assert regret(paths, hybrid)["mean"] == pytest.approx(0.3)  # type: ignore[index]
    assert regret([], hybrid) is None


def test_correlation_of_log_weights_and_accuracies(found) -> None:  # type: ignore[no-untyped-def]
    hybrid = found["tables"]["tokens"][0]
    paths = path_rows(found["paths"], hybrid)
    # weights .9/.1 and .2/.8: gm .72, gg .18, mm .08, mg .02 against .5, .2, .6, .8: ranks 4 3 2 1 and 2 1 3 4
    assert correlation(paths, ["gpt-neo", "mamba"], hybrid)["mean"] == pytest.approx(-0.8)  # type: ignore[index]


def test_what_would_be_exported(found) -> None:  # type: ignore[no-untyped-def]
    rows = [dict(row) for row in found["tables"]["tokens"]]
    assert exported(rows)["values"] == rows[0]["values"]  # type: ignore[index]
    alone = next(row for row in rows if row["name"] == "mamba alone")
    alone["choices"] = {"0": 0.9, "1": 0.1}
    assert exported(rows)["values"] == {"0": alone["values"]["0"], "1": rows[0]["values"]["1"]}  # type: ignore[index]
    assert exported(rows[:1]) is None


def test_verdicts(found) -> None:  # type: ignore[no-untyped-def]
    task = {"task": "a", "tables": found["tables"]}
    first, *others = verdicts([task, {**task, "task": "b"}], "tokens")
    assert first.startswith("the hybrid beats the better component on both tasks; ")
    assert any(said.startswith("the hybrid beats MambaFormer") for said in others)
    assert not any("gpt-neo alone" in said for said in (first, *others))


def test_a_seed_that_diverged_leaves_no_gap_and_no_regret(found) -> None:  # type: ignore[no-untyped-def]
    hybrid = {**found["tables"]["tokens"][0], "seeds": []}
    paths = path_rows(found["paths"], hybrid)
    assert gap(hybrid) is regret(paths, hybrid) is correlation(paths, ["gpt-neo", "mamba"], hybrid)
    assert fmean(held["chosen"] for held in paths) == 0
