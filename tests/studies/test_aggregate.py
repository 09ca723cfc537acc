"""What is told of results follows from them."""

from __future__ import annotations

from statistics import fmean

import pytest

from manticore.studies.aggregate import (
    better_component,
    conclusions,
    correlation,
    differences,
    discretization_gap,
    exported,
    path_rows,
    regret,
    study_tables,
)
from manticore.studies.study import Study
from manticore.studies.trial import Trial
from manticore.training.metrics import ACCURACY, BITS, Metric
from tests.helpers.pico_study import recipe, run_plan, seed_of

PATHS = {"gpt-neo gpt-neo": 0.2, "gpt-neo mamba": 0.5, "mamba gpt-neo": 0.8, "mamba mamba": 0.6}


def accuracy(held: Trial) -> float:
    """Paths from scratch as in PATHS, hybrids 0.7, everything else 0.4; later seeds a little better."""
    path = held["config"].get("path")
    base = PATHS[" ".join(path)] if path else {"hybrid": 0.7}.get(held["arm"], 0.4)
    return base + 0.01 * seed_of(held)


@pytest.fixture(scope="module")
def found():  # type: ignore[no-untyped-def]
    """Tables and paths of a study whose hybrids ran gpt-neo, mamba."""
    return aggregated(Study(recipe(paths=True), "data"), accuracy)


def aggregated(study: Study, value):  # type: ignore[no-untyped-def]
    """Base, tables and paths of a study whose trials score `value`."""
    outcome = run_plan(study, value)[0]
    return {"base": outcome.base, "tables": study_tables(study, outcome), "paths": outcome.paths}


def test_rows(found) -> None:  # type: ignore[no-untyped-def]
    rows = {row["name"]: row for row in found["tables"]["tokens"]}
    hybrid = rows["hybrid"]
    assert hybrid["values"] == {"0": 0.7, "1": pytest.approx(0.71)}
    assert hybrid["accuracy"]["mean"] == pytest.approx(0.705)
    assert hybrid["path"] == "gpt-neo · mamba (2 of 2 seeds)"
    assert rows["mamba alone"]["path"] is None
    assert discretization_gap(hybrid, ACCURACY)["finetuned"] == hybrid["accuracy"]  # type: ignore[index]
    assert discretization_gap(rows["hub"], ACCURACY) is None
    assert better_component(list(rows.values()), ACCURACY)["name"] == "mamba alone"  # type: ignore[index]


def test_differences_are_paired_over_seeds(found) -> None:  # type: ignore[no-untyped-def]
    held = differences(found["tables"]["tokens"], ACCURACY)
    assert held["mamba alone"] == pytest.approx({"mean": 0.1, "low": 0.1, "high": 0.1, "count": 2})
    assert "hybrid" not in held


def test_regret_is_told_of_paths_from_scratch(found) -> None:  # type: ignore[no-untyped-def]
    hybrid = found["tables"]["tokens"][0]
    paths = path_rows(found["paths"], hybrid, ACCURACY)
    assert [held["chosen"] for held in paths] == [0, 2, 0, 0]
    assert regret(paths, hybrid, ACCURACY)["mean"] == pytest.approx(0.3)  # type: ignore[index]
    assert regret([], hybrid, ACCURACY) is None


def test_correlation_of_log_weights_and_accuracies(found) -> None:  # type: ignore[no-untyped-def]
    hybrid = found["tables"]["tokens"][0]
    paths = path_rows(found["paths"], hybrid, ACCURACY)
    # weights .9/.1 and .2/.8: gm .72, gg .18, mm .08, mg .02 against .5, .2, .6, .8: ranks 4 3 2 1 and 2 1 3 4
    assert correlation(paths, ["gpt-neo", "mamba"], hybrid, ACCURACY)["mean"] == pytest.approx(-0.8)  # type: ignore[index]


def test_what_would_be_exported(found) -> None:  # type: ignore[no-untyped-def]
    rows = [dict(row) for row in found["tables"]["tokens"]]
    assert exported(rows, ACCURACY)["values"] == rows[0]["values"]  # type: ignore[index]
    alone = next(row for row in rows if row["name"] == "mamba alone")
    alone["choices"] = {"0": 0.9, "1": 0.1}
    assert exported(rows, ACCURACY)["values"] == {"0": alone["values"]["0"], "1": rows[0]["values"]["1"]}  # type: ignore[index]
    assert exported(rows[:1], ACCURACY) is None


def test_verdicts(found) -> None:  # type: ignore[no-untyped-def]
    task = {"task": "a", "metric": "accuracy", "tables": found["tables"]}
    first, *others = conclusions([task, {**task, "task": "b"}], "tokens")
    assert first.startswith("the hybrid beats the better component on both tasks; ")
    assert any(said.startswith("the hybrid beats MambaFormer") for said in others)
    assert not any("gpt-neo alone" in said for said in (first, *others))


def test_a_seed_that_diverged_leaves_no_gap_and_no_regret(found) -> None:  # type: ignore[no-untyped-def]
    hybrid = {**found["tables"]["tokens"][0], "seeds": []}
    paths = path_rows(found["paths"], hybrid, ACCURACY)
    assert discretization_gap(hybrid, ACCURACY) is regret(paths, hybrid, ACCURACY) is None
    assert correlation(paths, ["gpt-neo", "mamba"], hybrid, ACCURACY) is None
    assert fmean(held["chosen"] for held in paths) == 0


def mirrored(held: Trial) -> float:
    """Bits per byte that rank everything as `accuracy` does."""
    return 2 - accuracy(held)


def test_less_is_better_for_bits_per_byte(found) -> None:  # type: ignore[no-untyped-def]
    """Turned round, the same results lead to the same choices, leads, regret, correlation and verdicts."""
    bits = aggregated(Study(recipe(paths=True), "data", BITS), mirrored)
    assert bits["base"] == found["base"]
    for budget in ("tokens", "flops"):
        assert_alike(all_told(found, ACCURACY, budget), all_told(bits, BITS, budget))
    row = bits["tables"]["tokens"][0]
    assert row["values"] == pytest.approx({"0": 1.3, "1": 1.29})
    assert row["bits_per_byte"]["mean"] == pytest.approx(1.295)
    assert "accuracy" not in row


def all_told(found, metric: Metric, budget: str):  # type: ignore[no-untyped-def]
    """Everything that has a direction."""
    rows = found["tables"][budget]
    paths = path_rows(found["paths"], rows[0], metric)
    return {
        "rates": {row["name"]: row["lr"] for row in rows},
        "differences": differences(rows, metric),
        "better": better_component(rows, metric)["name"],  # type: ignore[index]
        "regret": regret(paths, rows[0], metric),
        "correlation": correlation(paths, ["gpt-neo", "mamba"], rows[0], metric),
        "verdicts": conclusions([{"task": "a", "metric": metric.name, "tables": {budget: rows}}], budget),
    }


def assert_alike(ours, theirs) -> None:  # type: ignore[no-untyped-def]
    for key, held in ours.items():
        if key == "differences":
            assert held.keys() == theirs[key].keys()
            for name, one in held.items():
                assert theirs[key][name] == pytest.approx(one, abs=1e-12), name
        elif isinstance(held, dict):
            assert theirs[key] == pytest.approx(held, abs=1e-12), key
        else:
            assert theirs[key] == held, key


def test_what_would_be_exported_needs_the_fewest_bits() -> None:
    def row(group: str, choice: float, value: float):  # type: ignore[no-untyped-def]
        return {"group": group, "choices": {"0": choice}, "values": {"0": value}}

    rows = [row("hybrid", 1.9, 1.0), row("component", 1.8, 2.0), row("component", 1.85, 3.0), row("control", 1.1, 4.0)]
    assert exported(rows, BITS)["values"] == {"0": 2.0}  # type: ignore[index]
    assert exported(rows, ACCURACY)["values"] == {"0": 1.0}  # type: ignore[index]
