"""The phases that a search prints before it trains: their sizes, tokens and operations are those of the training."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from manticore.config.loading import load_recipe
from manticore.experiment.component_notes import affordable_sequences, component_notes, first_sequences
from manticore.experiment.experiment import Experiment
from manticore.experiment.phases import ALONE, FINETUNE, UNIFORM_MIXTURE, build_component, matched_steps
from manticore.experiment.plan import plan_search
from manticore.experiment.planned import SEARCH, WARMUP, phase_table, planned_phases
from manticore.experiment.run_dir import RunDir
from manticore.nas.cost import parameters
from manticore.tasks.dataset import Examples
from tests.helpers.model_folders import bits_per_byte, model_folder, read_folder
from tests.helpers.pico_study import recipe
from tests.helpers.trained_tokenizers import small_tokenizer


def experiment(folder: Path, **search: Any) -> Experiment:
    plain = recipe()
    changed = replace(plain, search=replace(plain.search, **search))
    return Experiment.open(changed, RunDir(folder), Console(quiet=True))


@pytest.mark.parametrize(
    ("search", "tolerance"),
    [
        ({"strategy": "darts"}, 0.1),
        ({"strategy": "darts", "sample_paths": True, "steps": 12}, 0.25),
        ({"strategy": "gaea", "warmup_steps": 0}, 0.1),
        ({"strategy": "per-example"}, 0.25),
        ({"strategy": "halving", "steps": 16}, 0.25),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_tokens_and_operations_are_those_of_the_training(
    search: dict[str, Any], tolerance: float, tmp_path: Path
) -> None:
    exp = experiment(tmp_path, **search)
    planned = {phase.name: phase for phase in planned_phases(exp, "gpt-neo")}
    measured = {phase.name: phase for phase in plan_search(exp).phases}
    assert [name for name in measured if name in planned] == [*planned]
    for name, phase in planned.items():
        assert phase.tokens == pytest.approx(measured[name].tokens, rel=0.1), name
        assert phase.flops == pytest.approx(measured[name].flops, rel=tolerance), name
    assert (WARMUP in planned) == (search["strategy"] in ("darts", "per-example"))


def test_sizes_steps_and_rates_are_those_of_the_recipe(tmp_path: Path) -> None:
    exp = experiment(tmp_path)
    planned = {phase.name: phase for phase in planned_phases(exp, "gpt-neo")}
    for name in exp.space.names:
        assert planned[f"{ALONE}{name}"].parameters == parameters(build_component(exp, name, "alone"))
        assert planned[f"{ALONE}{name}"].steps == matched_steps(exp.recipe)
    supernet = exp.supernet("gpt-neo", "fixed", "search")
    assert planned[UNIFORM_MIXTURE].parameters == parameters(supernet) - sum(a.numel() for a in supernet.alphas)
    assert planned[SEARCH].parameters == sum(p.numel() for p in exp.supernet("gpt-neo", "softmax", "x").parameters())
    assert planned[SEARCH].lr == exp.recipe.search.weights.lr
    assert planned[FINETUNE].lr == exp.recipe.finetune.weights.lr
    table = phase_table([*planned.values()], measured=False)
    assert table.columns == ("phase", "trains", "steps", "peak rate", "tokens", "FLOPs")
    assert [row.cells[0] for row in table.rows] == [*planned]
    assert {len(row.cells) for row in table.rows} == {6}


def test_a_layer_that_is_not_trained_is_not_counted(tmp_path: Path) -> None:
    exp = experiment(tmp_path)
    tuned = replace(exp.recipe.finetune, weights=replace(exp.recipe.finetune.weights, freeze_depth=0.5))
    frozen = replace(exp, recipe=replace(exp.recipe, finetune=tuned))
    all_layers, some = (
        {phase.name: phase.parameters for phase in planned_phases(each, "gpt-neo")} for each in (exp, frozen)
    )
    assert some[FINETUNE] < all_layers[FINETUNE]
    assert some[SEARCH] == all_layers[SEARCH]


def documents(*lengths: int) -> Examples:
    """Documents of so many sequences of 4 tokens."""
    count = sum(lengths)
    ids = np.arange(4 * count, dtype=np.uint16).reshape(count, 4)
    groups = np.repeat(np.arange(len(lengths)), lengths)
    return replace(Examples.from_arrays(ids, ids.astype(np.int64)), num_bytes=np.full(count, 9), groups=groups)


def test_the_starts_of_the_same_documents_are_compared_for_every_tokenizer() -> None:
    sample = first_sequences(documents(*[3] * 100), 64)
    assert sample is not None
    assert sample.groups is not None
    assert len(sample) == 64
    assert len({*sample.groups}) == 32
    other = first_sequences(documents(*[1, 5] * 50), 64)
    assert other is not None
    assert other.groups is not None
    assert {*other.groups} == {*sample.groups}
    assert first_sequences(documents(*[3] * 100), 15) is None
    few = first_sequences(documents(9, 9), 8)
    assert few is not None
    assert [*few.groups] == [0] * 4 + [1] * 4  # type: ignore[misc]


TEXT = "text@length=32,passage=2000"


def test_components_with_unlike_tokenizers_are_compared_by_document(tmp_path: Path) -> None:
    folders = [
        model_folder(tmp_path / "gpt", "gpt_neo"),
        model_folder(tmp_path / "mamba", "mamba", small_tokenizer(300)),
    ]
    keys = {
        "space": {"components": [str(folder) for folder in folders], "stages": 2},
        "task": {"name": TEXT, "preset": "cpu", "train": 40, "val": 9, "test": 5},
        "run": {"device": "cpu", "threads": 1},
    }
    exp = Experiment.open(load_recipe("search/text", keys).recipe, RunDir(tmp_path / "run"), Console(quiet=True))
    texts = exp.for_component("gpt").task.texts()  # type: ignore[attr-defined]
    documents = defaultdict[str, list[str]](list)
    for text in texts.val:
        documents[(texts.groups or {}).get(text, text)].append(text)
    losses = [[bits_per_byte(*read_folder(folder), each, 32) for each in documents.values()] for folder in folders]
    wins, number = sum(first < second for first, second in zip(*losses, strict=True)), len(documents)
    assert number == 4  # books
    counts = f"gpt on {wins} of {number}, mamba on {number - wins} of {number}"
    assert component_notes(exp)[0].endswith(f"by document of the validation split: {counts}")
    with torch.no_grad():
        exp.component("gpt").model.get_input_embeddings().weight.mul_(40)
    sampled, warning = component_notes(exp, 16)
    assert "gpt on 0 of 4, mamba on 4 of 4 (the start of each; manticore plan reads all)" in sampled
    assert warning.startswith("warning: mamba is better nearly everywhere, so a hybrid is unlikely to be better")
    assert component_notes(exp, 7) == ["which component is better on which documents: manticore plan compares them"]


def test_the_comparison_costs_at_most_a_hundredth_of_the_training_of_a_component(tmp_path: Path) -> None:
    exp = experiment(tmp_path)
    sequences = matched_steps(exp.recipe) * exp.recipe.finetune.batch_size
    assert affordable_sequences(exp) <= 0.01 * 3 * sequences
    longer = replace(exp, recipe=replace(exp.recipe, finetune=replace(exp.recipe.finetune, steps=10_000)))
    assert affordable_sequences(longer) == 64
    assert "not known before training" in component_notes(exp, 64)[0]
