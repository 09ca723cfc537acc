"""Leads, gaps, regret, correlation and conclusions follow from the results of trials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import pytest

from manticore.components.spec import SKIP
from manticore.nas.choices import Choices
from manticore.results.study import ArmResult, PathResult
from manticore.studies.aggregate import (
    better_component,
    conclusions,
    correlation,
    discretization_gap,
    exported,
    leads,
    path_results,
    regret,
    study_tables,
)
from manticore.studies.search_scores import mean_search_scores
from manticore.studies.study import Study
from manticore.studies.trial import Trial
from manticore.training.metrics import ACCURACY, BITS, Metric
from manticore.utils.statistics import Interval
from tests.helpers.pico_study import recipe, run_plan, seed_of
from tests.helpers.study_results import arm, task_result

PATHS = {"gpt-neo gpt-neo": 0.2, "gpt-neo mamba": 0.5, "mamba gpt-neo": 0.8, "mamba mamba": 0.6}


def accuracy(trial: Trial) -> float:
    """Paths from scratch as in PATHS, hybrids 0.7, all other arms 0.4; later seeds are slightly better."""
    path = trial["config"].get("path")
    base = PATHS[" ".join(path)] if path else {"hybrid": 0.7}.get(trial["arm"], 0.4)
    return base + 0.01 * seed_of(trial)


@pytest.fixture(scope="module")
def trained() -> Aggregated:
    """Tables and paths of a study whose searches select gpt-neo, mamba."""
    return aggregated(Study(recipe(paths=True), "data"), accuracy)


@dataclass(frozen=True)
class Aggregated:
    """Base, tables and paths of a study, and the searches' scores of the paths."""

    base: str
    tables: dict[str, tuple[ArmResult, ...]]
    paths: tuple[PathResult, ...]
    search_scores: list[float]


def aggregated(study: Study, value: Callable[[Trial], float]) -> Aggregated:
    """The results of a study whose trials score `value`."""
    outcome = run_plan(study, value)[0]
    tables = study_tables(study, outcome)
    paths = path_results(outcome.paths, tables["tokens"][0].searches, study.metric)
    searched = mean_search_scores(outcome.results["tokens"]["hybrid"], study.space.choices)
    return Aggregated(outcome.base, tables, paths, searched)


def scores(study: Aggregated) -> dict[tuple[str, ...], float]:
    """Test score by path."""
    return {path.path: path.score.mean for path in study.paths}


def chosen_paths(hybrid: ArmResult) -> list[tuple[str, ...]]:
    """The path of each seed."""
    return [search.path for search in hybrid.searches]


def rank_correlation(study: Aggregated, metric: Metric) -> Interval | None:
    """Of the searches' scores with the scores of all paths."""
    return correlation(scores(study), study.search_scores, metric)


def test_arms(trained: Aggregated) -> None:
    arms = {arm.name: arm for arm in trained.tables["tokens"]}
    hybrid = arms["hybrid"]
    assert hybrid.seed_scores == {"0": 0.7, "1": pytest.approx(0.71)}
    assert hybrid.score.mean == pytest.approx(0.705)
    assert hybrid.path_summary == "gpt-neo · mamba (2 of 2 seeds)"
    assert arms["mamba alone"].path_summary is None
    gap = discretization_gap(hybrid, ACCURACY)
    assert gap is not None
    assert gap.finetuned == hybrid.score
    assert discretization_gap(arms["hub"], ACCURACY) is None
    best = better_component(list(arms.values()), ACCURACY)
    assert best is not None
    assert best.name == "mamba alone"


def test_leads_are_paired_over_seeds(trained: Aggregated) -> None:
    by_rival = leads(trained.tables["tokens"], ACCURACY)
    assert asdict(by_rival["mamba alone"]) == pytest.approx({"mean": 0.1, "low": 0.1, "high": 0.1, "count": 2})
    assert "hybrid" not in by_rival


def test_regret_is_that_of_paths_from_scratch(trained: Aggregated) -> None:
    chosen = chosen_paths(trained.tables["tokens"][0])
    assert [path.times_chosen for path in trained.paths] == [0, 2, 0, 0]
    result = regret(scores(trained), chosen, ACCURACY)
    assert result is not None
    assert result.mean == pytest.approx(0.3)
    assert regret({}, chosen, ACCURACY) is None


def test_correlation_of_search_scores_and_accuracies(trained: Aggregated) -> None:
    # of gg, gm, mg, mm: ranks 3 4 2 1 of the search's scores, and 1 2 4 3 of the accuracies
    result = rank_correlation(trained, ACCURACY)
    assert result is not None
    assert result.mean == pytest.approx(1 - 6 * (4 + 4 + 4 + 4) / (4 * 15))


def test_search_scores_are_means_over_the_searches_that_did_not_diverge() -> None:
    choices = Choices.of(("a", "b", SKIP), 1, {}, ())
    results = [{"scores": [1.0, 2.0, None]}, {"scores": None}, {"scores": [None, 4.0, 0.0]}]
    assert mean_search_scores(results, choices) == [(1.0 + 4.0) / 2, (2.0 + 4.0) / 2]
    assert mean_search_scores([{"scores": None}], choices) == []


def test_the_exported_model_is_better_on_validation(trained: Aggregated) -> None:
    arms = list(trained.tables["tokens"])
    hybrid = arms[0]
    result = exported(arms, ACCURACY)
    assert result is not None
    assert result.seed_scores == hybrid.seed_scores
    index = next(index for index, arm in enumerate(arms) if arm.name == "mamba alone")
    arms[index] = replace(arms[index], val_seed_scores={"0": 0.9, "1": 0.1})
    result = exported(arms, ACCURACY)
    assert result is not None
    assert result.seed_scores == {"0": arms[index].seed_scores["0"], "1": hybrid.seed_scores["1"]}
    assert exported(arms[:1], ACCURACY) is None


def test_conclusions(trained: Aggregated) -> None:
    task = replace(task_result("a"), tables=trained.tables)
    first, *rest = conclusions([task, replace(task, task="b")], "tokens")
    assert first.startswith("the hybrid beats the better component on both tasks; ")
    assert any(sentence.startswith("the hybrid beats MambaFormer") for sentence in rest)
    assert not any("gpt-neo alone" in sentence for sentence in (first, *rest))


def test_a_seed_that_diverged_leaves_no_gap_and_no_regret(trained: Aggregated) -> None:
    hybrid = replace(trained.tables["tokens"][0], searches=())
    assert discretization_gap(hybrid, ACCURACY) is None
    assert regret(scores(trained), chosen_paths(hybrid), ACCURACY) is None
    assert correlation(scores(trained), [], ACCURACY) is None


def mirrored(trial: Trial) -> float:
    """Bits per byte with the same ranks as `accuracy`."""
    return 2 - accuracy(trial)


def test_lower_bits_per_byte_are_better(trained: Aggregated) -> None:
    """The same results with the sign turned lead to the same choices, leads, regret, correlation and conclusions."""
    bits = aggregated(Study(recipe(paths=True), "data", BITS), mirrored)
    assert bits.base == trained.base
    for budget in ("tokens", "flops"):
        expected, turned = with_direction(trained, ACCURACY, budget), with_direction(bits, BITS, budget)
        assert turned.keys() == expected.keys()
        for name, value in expected.items():
            expected_value = pytest.approx(value, abs=1e-12) if "mean" in value else value
            assert turned[name] == expected_value, name
    hybrid = bits.tables["tokens"][0]
    assert hybrid.seed_scores == pytest.approx({"0": 1.3, "1": 1.29})
    assert hybrid.score.mean == pytest.approx(1.295)


def with_direction(study: Aggregated, metric: Metric, budget: str) -> dict[str, Any]:
    """All results that depend on whether a metric is to be maximized or minimized."""
    arms = study.tables[budget]
    best = better_component(arms, metric)
    result = regret(scores(study), chosen_paths(arms[0]), metric)
    ranks = rank_correlation(study, metric)
    assert best is not None
    assert result is not None
    assert ranks is not None
    intervals = {"regret": result, "correlation": ranks, **leads(arms, metric)}
    task = replace(task_result("a"), metric=metric, tables={budget: arms}, paths=())
    return {
        "rates": {arm.name: arm.lr for arm in arms},
        "better": best.name,
        "conclusions": conclusions([task], budget),
        **{name: asdict(interval) for name, interval in intervals.items()},
    }


def test_the_exported_model_has_the_fewest_bits_on_validation() -> None:
    def row(group: str, val_score: float, score: float) -> ArmResult:
        return replace(arm("hybrid"), group=group, val_seed_scores={"0": val_score}, seed_scores={"0": score})

    arms = [row("hybrid", 1.9, 1.0), row("component", 1.8, 2.0), row("component", 1.85, 3.0), row("control", 1.1, 4.0)]
    for metric, expected in ((BITS, 2.0), (ACCURACY, 1.0)):
        result = exported(arms, metric)
        assert result is not None
        assert result.seed_scores == {"0": expected}
