"""What the hybrid starts its fine-tuning from, what a random path is given, and what all learn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from manticore.experiment.environment import setup_hardware
from manticore.experiment.experiment import Experiment, PhaseResult
from manticore.experiment.phases import (
    RANDOM,
    finetune,
    finetune_stream,
    matched_steps,
    train_components,
    train_controls,
)
from manticore.experiment.run_dir import RunDir
from manticore.nas.discretize import discretize
from manticore.nas.supernet import Supernet
from manticore.studies.baselines import baseline_arms
from manticore.tasks.catalog import load_task
from manticore.training.batching import BatchSampler
from manticore.training.modules import TrainModule
from tests.helpers.pico_study import recipe


def exp(folder: Path, init: str) -> Experiment:
    """The means of a pico run whose hybrid starts as told."""
    plain = recipe()
    told = replace(plain, finetune=replace(plain.finetune, init=init))
    return Experiment(told, load_task(told.task), setup_hardware(told.run), RunDir(folder), Console(quiet=True))


@pytest.mark.parametrize("init", ["supernet", "components"])
@pytest.mark.parametrize("phase", ["fine-tune", RANDOM])
def test_the_start_of_fine_tuning(init: str, phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    means = exp(tmp_path, init)
    found = means.supernet("mamba", "softmax", "search")
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(1.0)
    made: list[TrainModule] = []
    monkeypatch.setattr(means, "train", lambda phase, make, streams: made.append(make()))
    finetune(means, found, ["mamba", "gpt-neo"], phase)
    fresh: Supernet = means.supernet("mamba", "softmax", "search")
    begun = found if init == "supernet" else fresh
    wanted = discretize(begun, ["mamba", "gpt-neo"], **means.task.config_fields()).state_dict()
    held = made[0].net.state_dict()
    assert all(torch.equal(held[name], value) for name, value in wanted.items())
    whole = init == "components" and phase == RANDOM
    assert made[0].steps == (matched_steps(means.recipe) if whole else means.recipe.finetune.steps)


def test_all_that_are_compared_learn_from_the_same_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    means = exp(tmp_path, "supernet")
    held: dict[str, dict[str, BatchSampler]] = {}

    def train(
        self: Experiment, phase: str, make: Any, streams: Callable[[], dict[str, BatchSampler]], *_: Any
    ) -> PhaseResult:
        held[phase] = streams()
        return PhaseResult(make().net, 0, 0.0, self.task)

    monkeypatch.setattr(Experiment, "train", train)
    found, path = means.supernet("mamba", "softmax", "search"), ["mamba", "gpt-neo"]
    train_components(means)
    finetune(means, found, path, "fine-tune")
    train_controls(means, found, "mamba", path)
    baseline_arms["soft"](means, {"base": "mamba"})
    baseline_arms["path"](means, {"base": "mamba", "path": path, "steps": 2})
    assert set(held) > {"alone gpt-neo", "alone mamba", "uniform mixture", RANDOM, "fine-tune", "train"}
    batches = {phase: streams["weights"].batch(1)["input_ids"] for phase, streams in held.items() if phase != "search"}
    assert all(torch.equal(batch, batches["train"]) for batch in batches.values())
    other = replace(means, recipe=replace(means.recipe, run=replace(means.recipe.run, seed=1)))
    assert not torch.equal(finetune_stream(other)["weights"].batch(1)["input_ids"], batches["train"])
