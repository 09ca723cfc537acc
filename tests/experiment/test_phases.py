"""Initial weights of the fine-tuned hybrid, tokens of a random path, and the batches that all models are trained on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

from manticore.experiment.experiment import Experiment, PhaseResult
from manticore.experiment.phases import (
    RANDOM_PATH,
    UNIFORM_MIXTURE,
    count_phases,
    finetune,
    finetune_stream,
    matched_steps,
    train_components,
    train_controls,
)
from manticore.experiment.run_dir import RunDir
from manticore.nas.cost import PathCosts, parameters
from manticore.nas.discretize import discretize
from manticore.pipelines.search import run as search
from manticore.studies.baselines import arm_kinds
from manticore.training.batching import BatchSampler
from manticore.training.modules import TrainModule
from tests.helpers.pico_study import recipe

PATH = ["mamba", "gpt-neo"]


def experiment(folder: Path, init: str = "supernet") -> Experiment:
    """A pico run whose hybrid has these initial weights."""
    plain = recipe()
    changed = replace(plain, finetune=replace(plain.finetune, init=init))
    return Experiment.open(changed, RunDir(folder), Console(quiet=True))


@pytest.mark.parametrize("init", ["supernet", "components"])
@pytest.mark.parametrize("phase", ["fine-tune", RANDOM_PATH])
def test_initial_weights_of_fine_tuning(init: str, phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exp = experiment(tmp_path, init)
    searched = exp.supernet("mamba", "softmax", "search")
    with torch.no_grad():
        for parameter in searched.parameters():
            parameter.add_(1.0)
    discrete = discretize(searched, PATH, **exp.task.config_fields())
    trained: list[TrainModule] = []

    def train(phase: str, build: Callable[[], Any], module: Callable[[Any], TrainModule], streams: object) -> Any:
        trained.append(module(build()))
        return PhaseResult(trained[0].net, 0, 0.0, exp.task)

    monkeypatch.setattr(exp, "train", train)
    finetune(exp, PhaseResult(searched, 0, 0.0, exp.task), discrete, phase)
    source = searched if init == "supernet" else exp.supernet("mamba", "softmax", "search")
    wanted = discretize(source, PATH, **exp.task.config_fields()).state_dict()
    state = trained[0].net.state_dict()
    assert all(torch.equal(state[name], value) for name, value in wanted.items())
    assert trained[0].net is not discrete, "the hybrid before fine-tuning is evaluated later"
    whole = init == "components" and phase == RANDOM_PATH
    assert trained[0].steps == (matched_steps(exp.recipe) if whole else exp.recipe.finetune.steps)


def test_all_compared_models_are_trained_on_the_same_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exp = experiment(tmp_path)
    streams_of: dict[str, dict[str, BatchSampler]] = {}

    def train(
        self: Experiment,
        phase: str,
        build: Callable[[], nn.Module],
        module: Any,
        streams: Callable[[], dict[str, BatchSampler]],
        *_: Any,
    ) -> PhaseResult[nn.Module]:
        streams_of[phase] = streams()
        return PhaseResult(build(), 0, 0.0, self.task)

    monkeypatch.setattr(Experiment, "train", train)
    searched = exp.supernet("mamba", "softmax", "search")
    train_components(exp)
    search = PhaseResult(searched, 0, 0.0, exp.task)
    finetune(exp, search, discretize(searched, PATH, **exp.task.config_fields()))
    train_controls(exp, search, PATH)
    arm_kinds["soft"](exp, {"base": "mamba"})
    arm_kinds["path"](exp, {"base": "mamba", "path": PATH, "steps": 2})
    assert set(streams_of) > {"alone gpt-neo", "alone mamba", "uniform mixture", RANDOM_PATH, "fine-tune", "train"}
    batches = {
        phase: streams["weights"].batch(1)["input_ids"] for phase, streams in streams_of.items() if phase != "search"
    }
    assert all(torch.equal(batch, batches["train"]) for batch in batches.values())
    other = replace(exp, recipe=replace(exp.recipe, run=replace(exp.recipe.run, seed=1)))
    assert not torch.equal(finetune_stream(other)["weights"].batch(1)["input_ids"], batches["train"])


def test_a_component_alone_is_drawn_as_in_a_supernet_of_all(tmp_path: Path) -> None:
    exp = experiment(tmp_path)
    whole = exp.supernet("mamba", "softmax", "alone mamba")
    single = exp.supernet("mamba", "softmax", "alone mamba", alone=True)
    path = ["mamba"] * exp.space.stages
    states = [discretize(net, path, **exp.task.config_fields()).state_dict() for net in (whole, single)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_skeleton_costs_as_much_as_the_supernet_and_has_no_weights(tmp_path: Path) -> None:
    exp = experiment(tmp_path)
    net, skeleton = exp.supernet("mamba", "softmax", "search"), exp.skeleton("mamba")
    assert parameters(net) == parameters(skeleton)
    assert PathCosts(net, 17).parameters(PATH) == PathCosts(skeleton, 17).parameters(PATH)
    assert all(p.is_meta for name, p in skeleton.named_parameters() if name.startswith("stages."))


def test_progress_numbers_the_phases_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search(recipe(), tmp_path / "run", Console(width=110))
    shown = re.findall(r"^  ([a-z -]+) \((\d) of (\d)\): step \d+/\d+", capsys.readouterr().out, re.MULTILINE)
    names = ["alone gpt-neo", "alone mamba", "search", "fine-tune", UNIFORM_MIXTURE, RANDOM_PATH]
    assert list(dict.fromkeys(shown)) == [(name, str(number), "6") for number, name in enumerate(names, start=1)]


def test_placements_are_phases_too() -> None:
    plain = recipe()
    baselines = replace(plain.baselines, placements=("even", "random"))
    assert count_phases(replace(plain, baselines=baselines)) == count_phases(plain) + 1 + 3
