"""A study selects on the validation split, gives all arms the same budget, and reads test after all is selected."""

from __future__ import annotations

from itertools import pairwise

import pytest

from manticore.studies.aggregate import leads, study_tables
from manticore.studies.scheduler import run_rounds
from manticore.studies.store import key_of
from manticore.studies.study import Study
from manticore.studies.trial import DIVERGED, Trial
from manticore.training.metrics import ACCURACY, BITS, Metric
from tests.helpers.pico_study import learning_rate_of, recipe, run_plan, seed_of, trial_result

BEST_RATE = {"path": 0.001, "designed": 0.002, "uniform": 0.001, "soft": 0.002, "hub": 0.002, "hybrid": 0.002}


def accuracy(trial: Trial) -> float:
    """Each kind is best at its own rate and Mamba is the better component; test scores say the opposite."""
    at_best_rate = learning_rate_of(trial) == BEST_RATE[trial["arm"]]
    if trial["split"] == "test":
        return 0.3 if at_best_rate else 0.9
    mamba_alone = trial["config"].get("path") == ["mamba", "mamba"]
    return (0.5 if at_best_rate else 0.4) + 0.1 * mamba_alone + 0.01 * seed_of(trial)


def rates(study: Study) -> dict[str, float]:
    return {name: rate for name, rate in study.learning_rates.items() if " · " not in name}


def test_selection_reads_the_validation_split_and_test_comes_last() -> None:
    study = Study(recipe(), "data")
    outcome, rounds = run_plan(study, accuracy)
    assert outcome.base == "mamba"
    assert rates(study) == {
        "hybrid": 0.002,
        "gpt-neo alone": 0.001,
        "mamba alone": 0.001,
        "mambaformer": 0.002,
        "striped": 0.002,
        "uniform mixture": 0.001,
        "random path": 0.001,
        "hub": 0.002,
    }
    tested = [trial for trials in rounds for trial in trials if trial["split"] == "test"]
    assert {learning_rate_of(trial) == BEST_RATE[trial["arm"]] for trial in tested} == {True}
    for trials in rounds:  # a round selects or tests
        assert len({trial["split"] for trial in trials}) == 1
    for before, after in pairwise(rounds):  # all arms are trained in one round and tested in the next
        if after[0]["split"] == "test":
            assert [key_of({**trial, "split": "val"}) for trial in after] == [key_of(trial) for trial in before]


def test_all_arms_get_the_same_tokens_and_then_the_same_operations() -> None:
    study = Study(recipe(), "data")
    outcome, rounds = run_plan(study, accuracy)
    fixed = {"path", "uniform", "designed"}
    steps = {trial["config"]["steps"] for trial in rounds[0] + rounds[1] if trial["arm"] in fixed}
    assert steps == {(4 + 2) + 4}  # weight and alpha steps of the search, and fine-tuning, of 8 sequences each
    (hub,) = {trial["recipe"]["search"]["steps"] for trial in rounds[1] if trial["arm"] == "hub"}
    assert hub == 10
    spent = {arm.name: arm.train_flops for arm in study_tables(study, outcome)["flops"]}
    assert spent["uniform mixture"] == pytest.approx(outcome.train_flops, rel=0.15)
    uniform = [trial for trials in rounds for trial in trials if trial["arm"] == "uniform"][-1]
    assert uniform["config"]["steps"] == 4  # a step of it has twice the operations of the hybrid's 8


def test_the_soft_hybrid_is_searched_for_as_long_and_finetuned_for_less() -> None:
    study = Study(recipe(baselines=["soft"]), "data")
    outcome, rounds = run_plan(study, accuracy)
    assert list(outcome.results["flops"]) == ["hybrid", "soft hybrid"]
    soft = [trial for trials in rounds for trial in trials if trial["arm"] == "soft"]
    assert {trial["recipe"]["search"]["steps"] for trial in soft} == {study.recipe.search.steps}
    assert [soft[0]["config"]["steps"], soft[-1]["config"]["steps"]] == [4, 1]
    assert all(trial["recipe"]["finetune"]["steps"] == trial["config"]["steps"] for trial in soft)


def test_a_base_in_the_recipe_is_kept() -> None:
    study = Study(recipe(), "data")
    study.space = type(study.space)(["gpt-neo", "mamba"], stages=2, base="gpt-neo")
    assert run_plan(study, accuracy)[0].base == "gpt-neo"


def test_only_the_baselines_of_the_recipe_take_part() -> None:
    study = Study(recipe(baselines=["components"], budgets=["tokens"]), "data")
    outcome, rounds = run_plan(study, accuracy)
    assert [arm.name for arm in outcome.arms] == ["hybrid", "gpt-neo alone", "mamba alone"]
    assert set(outcome.results) == {"tokens"}
    assert {trial["arm"] for trials in rounds for trial in trials} == {"hybrid", "path"}


def test_the_base_is_chosen_even_if_components_are_not_compared() -> None:
    outcome, _ = run_plan(Study(recipe(baselines=["hub"], budgets=["tokens"]), "data"), accuracy)
    assert outcome.base == "mamba"
    assert [arm.name for arm in outcome.arms] == ["hybrid", "hub"]


def test_all_paths() -> None:
    outcome, rounds = run_plan(Study(recipe(paths=True, budgets=["tokens"]), "data"), accuracy)
    assert list(outcome.paths) == [(first, second) for first in ("gpt-neo", "mamba") for second in ("gpt-neo", "mamba")]
    assert {seed_of(trial) for trial in rounds[-1]} == {0, 1}
    assert {learning_rate_of(trial) for trial in rounds[-1]} == {0.001}


def test_without_a_random_path_all_paths_have_the_learning_rate_of_the_hybrid() -> None:
    study = Study(recipe(paths=True, baselines=["components"], budgets=["tokens"]), "data")
    _, rounds = run_plan(study, accuracy)
    assert study.learning_rates["hybrid"] != study.learning_rates["mamba alone"]
    assert {learning_rate_of(trial) for trial in rounds[-1]} == {study.learning_rates["hybrid"]}


def test_all_paths_with_some_of_the_seeds() -> None:
    outcome, rounds = run_plan(Study(recipe(paths=True, path_seeds=1, budgets=["tokens"]), "data"), accuracy)
    assert [len(results) for results in outcome.paths.values()] == [1] * 4
    assert {seed_of(trial) for trial in rounds[-1]} == {0}


def test_a_random_path_is_not_the_base_alone() -> None:
    study = Study(recipe(), "data")
    drawn = [tuple(study.random_path("mamba", seed)) for seed in range(40)]
    assert set(drawn) == {("gpt-neo", "gpt-neo"), ("gpt-neo", "mamba"), ("mamba", "gpt-neo")}
    assert drawn == [tuple(study.random_path("mamba", seed)) for seed in range(40)]


def test_a_component_alone_is_the_path_of_its_own_stages() -> None:
    study = Study(recipe(), "data")
    alone = study.trial(study.component_arm("mamba"), 0, 0.001)
    assert key_of(alone) == key_of(study.trial(study.path_arm("mamba", ["mamba"] * 2), 0, 0.001))


def test_the_trials_of_all_plans_run_together_in_rounds() -> None:
    def plan(name: str, rounds: int):  # type: ignore[no-untyped-def]
        received = []
        for number in range(rounds):
            received += yield [{"trial": f"{name}{number}"}]
        return received

    calls = []

    def run(trials):  # type: ignore[no-untyped-def]
        calls.append([trial["trial"] for trial in trials])
        return [{"of": trial["trial"]} for trial in trials]

    returned = run_rounds([plan("a", 1), plan("b", 3), plan("c", 0)], run)
    assert calls == [["a0", "b0"], ["b1"], ["b2"]]
    assert returned == [[{"of": "a0"}], [{"of": f"b{number}"} for number in range(3)], []]


@pytest.mark.parametrize("metric", [ACCURACY, BITS], ids=lambda metric: metric.name)
def test_a_learning_rate_that_diverged_is_never_selected(metric: Metric) -> None:
    """Not even if the score of the other one is the worst possible, or worse."""
    study = Study(recipe(), "data", metric)
    for worst in (metric.worst, 90.0 if metric is BITS else metric.worst):
        search = study.search_learning_rates([study.component_arm("mamba")])
        trials = next(search)
        results = [
            DIVERGED if learning_rate_of(trial) == 0.001 else trial_result(worst, trial, metric=metric)
            for trial in trials
        ]
        with pytest.raises(StopIteration) as stop:
            search.send(results)
        assert study.learning_rates == {"mamba alone": 0.002}
        assert stop.value.value == {"mamba alone": metric.sort_key(metric.worst)}


@pytest.mark.parametrize("metric", [ACCURACY, BITS], ids=lambda metric: metric.name)
def test_a_study_survives_an_arm_that_diverged_with_every_seed(metric: Metric) -> None:
    study = Study(recipe(), "data", metric)

    def run(trials: list[Trial]) -> list[dict[str, object]]:
        return [
            DIVERGED if trial["arm"] == "uniform" else trial_result(0.5, trial, ["mamba"] * 2, metric)
            for trial in trials
        ]

    (outcome,) = run_rounds([study.plan()], run)
    for arms in study_tables(study, outcome).values():
        assert next(arm for arm in arms if arm.name == "uniform mixture").score.mean == metric.worst
        assert leads(arms, metric)["uniform mixture"].mean == abs(0.5 - metric.worst)
