"""A study chooses on the validation split, gives everybody the same, and reads test when all is chosen."""

from __future__ import annotations

from itertools import pairwise

import pytest

from manticore.studies.aggregate import differences
from manticore.studies.scheduler import run_rounds
from manticore.studies.store import key_of
from manticore.studies.study import Study
from manticore.studies.trial import DIVERGED, Trial
from manticore.training.metrics import ACCURACY, BITS, Metric
from tests.helpers.pico_study import answer, rate_of, recipe, seed_of, told

GOOD = {"path": 0.001, "designed": 0.002, "uniform": 0.001, "soft": 0.002, "hub": 0.002, "hybrid": 0.002}


def accuracy(held: Trial) -> float:
    """Each kind is best at its own rate; Mamba alone is the better component; test contradicts all that."""
    if held["split"] == "test":
        return 0.9 if rate_of(held) != GOOD[held["arm"]] else 0.3
    best = 0.5 if rate_of(held) == GOOD[held["arm"]] else 0.4
    return best + 0.1 * (held["config"].get("path") == ["mamba", "mamba"]) + 0.01 * seed_of(held)


def test_choices_are_made_on_model_choice_and_test_comes_last() -> None:
    found, rounds = told(Study(recipe(), "data"), accuracy)
    assert found["base"] == "mamba"
    rates = {row["name"]: row["lr"] for row in found["tables"]["tokens"]}
    assert rates == {
        "hybrid": 0.002,
        "gpt-neo alone": 0.001,
        "mamba alone": 0.001,
        "mambaformer": 0.002,
        "striped": 0.002,
        "uniform mixture": 0.001,
        "random path": 0.001,
        "hub": 0.002,
    }
    tested = [held for trials in rounds for held in trials if held["split"] == "test"]
    assert {rate_of(held) == GOOD[held["arm"]] for held in tested} == {True}
    for trials in rounds:  # a round is for choosing or for testing
        assert len({held["split"] for held in trials}) == 1
    for before, after in pairwise(rounds):  # what is tested was trained in the round before, by everybody
        if after[0]["split"] == "test":
            assert [key_of({**held, "split": "val"}) for held in after] == [key_of(held) for held in before]


def test_everybody_gets_the_same_tokens_and_then_the_same_operations() -> None:
    found, rounds = told(Study(recipe(), "data"), accuracy)
    fixed = {"path", "uniform", "designed"}
    steps = {held["config"]["steps"] for held in rounds[0] + rounds[1] if held["arm"] in fixed}
    assert steps == {(4 + 2) + 4}  # weight and alpha steps of the search, and the fine-tuning, of 8 sequences each
    (hub,) = {held["recipe"]["search"]["steps"] for held in rounds[1] if held["arm"] == "hub"}
    assert hub == 10
    spent = {row["name"]: row["train_flops"] for row in found["tables"]["flops"]}
    assert spent["uniform mixture"] == pytest.approx(found["train_flops"], rel=0.15)
    halved = [held for trials in rounds for held in trials if held["arm"] == "uniform"][-1]
    assert halved["config"]["steps"] == 4  # twice the operations a step: 8 * 6000 of the hybrid's are 4 steps


def test_a_soft_hybrid_is_searched_for_as_long_and_tuned_for_less() -> None:
    study = Study(recipe(baselines=["soft"]), "data")
    found, rounds = told(study, accuracy)
    assert [row["name"] for row in found["tables"]["flops"]] == ["hybrid", "soft hybrid"]
    held = [one for trials in rounds for one in trials if one["arm"] == "soft"]
    assert {one["recipe"]["search"]["steps"] for one in held} == {study.recipe.search.steps}
    assert [held[0]["config"]["steps"], held[-1]["config"]["steps"]] == [4, 1]
    assert all(one["recipe"]["finetune"]["steps"] == one["config"]["steps"] for one in held)


def test_the_base_that_was_asked_for_stays() -> None:
    study = Study(recipe(), "data")
    study.space = type(study.space)(["gpt-neo", "mamba"], stages=2, base="gpt-neo")
    assert told(study, accuracy)[0]["base"] == "gpt-neo"


def test_only_those_asked_for_take_part() -> None:
    found, rounds = told(Study(recipe(baselines=["components"], budgets=["tokens"]), "data"), accuracy)
    assert [row["name"] for row in found["tables"]["tokens"]] == ["hybrid", "gpt-neo alone", "mamba alone"]
    assert set(found["tables"]) == {"tokens"}
    assert {held["arm"] for trials in rounds for held in trials} == {"hybrid", "path"}


def test_without_components_base_is_chosen_all_the_same() -> None:
    found, _ = told(Study(recipe(baselines=["hub"], budgets=["tokens"]), "data"), accuracy)
    assert found["base"] == "mamba"
    assert [row["name"] for row in found["tables"]["tokens"]] == ["hybrid", "hub"]


def test_all_paths() -> None:
    found, rounds = told(Study(recipe(paths=True, budgets=["tokens"]), "data"), accuracy)
    assert [held["path"] for held in found["paths"]] == [
        [first, second] for first in ("gpt-neo", "mamba") for second in ("gpt-neo", "mamba")
    ]
    assert {seed_of(held) for held in rounds[-1]} == {0, 1}
    assert {rate_of(held) for held in rounds[-1]} == {0.001}


def test_without_a_random_path_all_have_the_rate_of_the_hybrid() -> None:
    found, rounds = told(Study(recipe(paths=True, baselines=["components"], budgets=["tokens"]), "data"), accuracy)
    rates = {row["name"]: row["lr"] for row in found["tables"]["tokens"]}
    assert rates["hybrid"] != rates["mamba alone"]
    assert {rate_of(held) for held in rounds[-1]} == {rates["hybrid"]}


def test_all_paths_with_some_of_the_seeds() -> None:
    found, rounds = told(Study(recipe(paths=True, path_seeds=1, budgets=["tokens"]), "data"), accuracy)
    assert [len(held["results"]) for held in found["paths"]] == [1] * 4
    assert {seed_of(held) for held in rounds[-1]} == {0}


def test_a_random_path_is_not_base_alone() -> None:
    study = Study(recipe(), "data")
    drawn = [tuple(study.random_path("mamba", seed)) for seed in range(40)]
    assert set(drawn) == {("gpt-neo", "gpt-neo"), ("gpt-neo", "mamba"), ("mamba", "gpt-neo")}
    assert drawn == [tuple(study.random_path("mamba", seed)) for seed in range(40)]


def test_a_component_alone_is_the_path_that_stays_base() -> None:
    study = Study(recipe(), "data")
    alone = study.trial(study.component("mamba"), 0, 0.001)
    assert key_of(alone) == key_of(study.trial(study.one_path("mamba", ["mamba"] * 2), 0, 0.001))


def test_stories_are_played_in_rounds_together() -> None:
    def story(name: str, rounds: int):  # type: ignore[no-untyped-def]
        heard = []
        for number in range(rounds):
            heard += yield [{"trial": f"{name}{number}"}]
        return {"heard": heard}

    calls = []

    def run(trials):  # type: ignore[no-untyped-def]
        calls.append([held["trial"] for held in trials])
        return [{"of": held["trial"]} for held in trials]

    ends = run_rounds([story("a", 1), story("b", 3), story("c", 0)], run)
    assert calls == [["a0", "b0"], ["b1"], ["b2"]]
    assert ends == [{"heard": [{"of": "a0"}]}, {"heard": [{"of": f"b{n}"} for n in range(3)]}, {"heard": []}]


@pytest.mark.parametrize("metric", [ACCURACY, BITS], ids=lambda metric: metric.name)
def test_a_rate_that_diverged_is_never_chosen(metric: Metric) -> None:
    """Not even where all else is as bad as can be, or worse."""
    study = Study(recipe(), "data", metric)
    tuning = study.tune([study.component("mamba")])
    trials = next(tuning)
    for worst in (metric.worst, 90.0 if metric is BITS else metric.worst):
        held = [DIVERGED if rate_of(one) == 0.001 else answer(worst, one, metric=metric) for one in trials]
        with pytest.raises(StopIteration) as end:
            tuning.send(held)
        assert study.rates == {"mamba alone": 0.002}
        assert end.value.value == {"mamba alone": metric.sort_key(metric.worst)}
        tuning = study.tune([study.component("mamba")])
        next(tuning)


@pytest.mark.parametrize("metric", [ACCURACY, BITS], ids=lambda metric: metric.name)
def test_a_rival_that_diverged_everywhere_ends_no_study(metric: Metric) -> None:
    story = Study(recipe(), "data", metric).story()
    answers = None
    while True:
        try:
            trials = next(story) if answers is None else story.send(answers)
        except StopIteration as end:
            found = end.value
            break
        answers = [
            DIVERGED if held["arm"] == "uniform" else answer(0.5, held, ["mamba"] * 2, metric) for held in trials
        ]
    for rows in found["tables"].values():
        assert next(row for row in rows if row["name"] == "uniform mixture")[metric.name]["mean"] == metric.worst
        assert differences(rows, metric)["uniform mixture"]["mean"] == abs(0.5 - metric.worst)  # ahead
