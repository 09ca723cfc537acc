"""A search on a variant of the task: its sequences, their share of the tokens, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from manticore.errors import ManticoreError
from manticore.experiment.checks import check_experiment
from manticore.experiment.experiment import Experiment
from manticore.experiment.phases import matched_steps, run_search, train_components
from manticore.experiment.plan import plan_search
from manticore.experiment.planned import planned_phases
from manticore.experiment.run_dir import RunDir
from manticore.experiment.search_task import load_search_task
from manticore.studies.study import Study, hub_recipe
from manticore.studies.trial import TrialRunner
from manticore.tasks.catalog import load_task
from manticore.tasks.mad.copying import Copying
from manticore.tasks.options import Preset, TaskOptions
from manticore.tasks.task import Task
from tests.helpers.pico_study import recipe

TASK = "mad-compression@vocab_size=8,seq_len=8"
SHORTER = {"seq_len": 4}


def experiment(
    folder: Path, strategy: str = "uniform", settings: dict[str, Any] = SHORTER, task: str = TASK
) -> Experiment:
    """A pico run, on sequences of 8 tokens, whose search has these settings."""
    plain = recipe()
    search = replace(plain.search, strategy=strategy, task_settings=settings)
    changed = replace(plain, search=search, task=replace(plain.task, name=task))
    return Experiment.open(changed, RunDir(folder), Console(quiet=True))


def inputs(task: Task, *splits: str) -> set[bytes]:
    return {value for name in splits for value in getattr(task.splits(), name).fingerprints()}


def test_the_search_and_its_selection_have_the_shorter_sequences(tmp_path: Path) -> None:
    exp = experiment(tmp_path)
    searching = exp.for_search()
    assert (exp.task.max_length, searching.task.max_length) == (8, 4)
    assert searching.components is exp.components
    search = run_search(exp, "mamba")
    assert search.tokens == 4 * 8 * 4  # 4 steps of 8 sequences of 4 tokens
    assert search.task is exp.task, "the mixture is tested on the task"


def test_the_plan_has_the_tokens_of_the_shorter_sequences(tmp_path: Path) -> None:
    exp = experiment(tmp_path)
    phases = {phase.name: phase for phase in plan_search(exp).phases}
    steps = {name: phases[name].steps for name in ("alone gpt-neo", "alone mamba")}
    assert set(steps.values()) == {matched_steps(exp.recipe, 0.5)} == {6}
    assert phases["alone mamba"].tokens == 6 * 8 * 8
    assert sum(phase.tokens for name, phase in phases.items() if name.startswith("search")) == 4 * 8 * 4
    planned = {phase.name: phase for phase in planned_phases(exp, "mamba")}
    assert {name: (phase.steps, phase.tokens) for name, phase in planned.items()} == {
        name: (phases[name].steps, phases[name].tokens) for name in planned
    }


def test_components_have_as_many_tokens_as_the_hybrid(tmp_path: Path) -> None:
    exp = experiment(tmp_path)
    assert exp.search_length == 0.5
    assert matched_steps(exp.recipe, exp.search_length) == 4 + 2
    assert {phase.tokens for phase in train_components(exp).values()} == {6 * 8 * 8}
    study = Study(exp.recipe, "data", search_length=exp.search_length)
    hybrid, alone = (
        TrialRunner(tmp_path, exp.recipe.run)(study.trial(arm, 0, 0.001))
        for arm in (study.hybrid_arm("mamba"), study.component_arm("mamba"))
    )
    assert hybrid["tokens"] == alone["tokens"]
    assert hub_recipe(exp.recipe, 8).search.task_settings == {}, "the hub is a model of the task"


def test_inputs_of_the_evaluation_are_not_searched_on(tmp_path: Path) -> None:
    name = "lra-listops@max_length=12,min_length=4"
    exp = experiment(tmp_path, settings={"max_length": 9}, task=name)
    evaluated, searched = inputs(exp.task, "val", "test"), ("train", "train_arch", "val")
    plain = load_task(replace(exp.recipe.task, name="lra-listops@max_length=9,min_length=4"))
    assert not inputs(plain, *searched).isdisjoint(evaluated)
    variant = exp.for_search().task
    assert 0 < len(variant.splits().train) <= len(plain.splits().train)
    assert inputs(variant, *searched).isdisjoint(evaluated)


@pytest.mark.parametrize(
    ("task", "preset", "shorter"),
    [
        ("lra-listops", "cpu", {"min_length": 4, "max_length": 21}),
        ("mad-in-context-recall", "cpu", {"seq_len": 16}),
        ("mad-in-context-recall@seq_len=30", "cpu", {"seq_len": 14}),
        ("mad-fuzzy-recall", "cpu", {"seq_len": 12}),
        ("mad-compression", "cpu", {"seq_len": 6}),
        ("mad-selective-copying", "cpu", {"seq_len": 12, "num_tokens_to_copy": 3}),
        ("mad-selective-copying", "paper", {"seq_len": 128, "num_tokens_to_copy": 8}),
        ("mad-memorization", "cpu", {"seq_len": 8}),
    ],
)
def test_shorter_sequences_of_each_task(task: str, preset: Preset, shorter: dict[str, int]) -> None:
    own = load_task(TaskOptions(name=task, preset=preset, train=64, val=16, test=16))
    assert own.shorter_settings() == shorter
    run, options = recipe(), TaskOptions(name=task, preset=preset, train=64, val=16, test=16)
    run = replace(run, task=options, search=replace(run.search, shorter_sequences=True))
    variant = load_search_task(run, own)
    assert variant.max_length < own.max_length
    assert {key: variant.settings[key] for key in shorter} == shorter


def test_a_shorter_variant_has_enough_distinct_sequences() -> None:
    # With 12 tokens there are 10,752 of them, with 13 there are 14,336, with 14 there are 18,432.
    shorter = Copying(vocab_size=10, seq_len=24, train=12_800, num_tokens_to_copy=6).shorter()
    assert shorter == Copying(vocab_size=10, seq_len=14, train=12_800, num_tokens_to_copy=3)


def test_a_task_without_a_shorter_variant() -> None:
    task = load_task(TaskOptions(name="text"))
    with pytest.raises(ManticoreError, match=r"task .text.*has no shorter variant; give its settings as"):
        task.shorter_settings()


@pytest.mark.parametrize(
    ("strategy", "settings", "message"),
    [
        ("uniform", {"seq_len": 9}, "up to 9 tokens, longer than the 8"),
        ("uniform", {"vocab_size": 5}, "another vocabulary or other labels"),
        ("uniform", {"seq_length": 4}, "unknown setting of mad-compression 'seq_length'. Did you mean 'seq_len'"),
        ("halving", SHORTER, "no use with --strategy halving.*--set search.shorter_sequences=false"),
    ],
)
def test_variants_that_are_refused(strategy: str, settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ManticoreError, match=message):
        check_experiment(experiment(tmp_path, strategy, settings))
