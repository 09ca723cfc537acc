"""What the hybrid starts its fine-tuning from, what a random path is given, and what all learn from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from manticore.contest.contenders import contenders
from manticore.discretization import discretize
from manticore.runs.folder import RunFolder
from manticore.runs.machine import prepare
from manticore.runs.phases import RANDOM, fair_steps, finetune, lessons, train_alone, train_baselines
from manticore.runs.wording import label_fields
from manticore.runs.workshop import Trained, Workshop
from manticore.supernet import Supernet
from manticore.tasks.catalog import load_task
from manticore.training.data import Stream
from manticore.training.modules import TrainModule
from tests.contest.contests import recipe


def shop(folder: Path, start: str) -> Workshop:
    """The means of a pico run whose hybrid starts as told."""
    plain = recipe()
    told = replace(plain, finetune=replace(plain.finetune, start=start))
    return Workshop(told, load_task(told.task), prepare(told.run), RunFolder(folder), Console(quiet=True))


@pytest.mark.parametrize("start", ["search", "fresh"])
@pytest.mark.parametrize("phase", ["fine-tune", RANDOM])
def test_the_start_of_fine_tuning(start: str, phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    means = shop(tmp_path, start)
    found = means.supernet("mamba", "softmax", "search")
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(1.0)
    made: list[TrainModule] = []
    monkeypatch.setattr(means, "train", lambda phase, make, streams: made.append(make()))
    finetune(means, found, ["mamba", "gpt-neo"], phase)
    fresh: Supernet = means.supernet("mamba", "softmax", "search")
    begun = found if start == "search" else fresh
    wanted = discretize(begun, ["mamba", "gpt-neo"], **label_fields(means.task)).state_dict()
    held = made[0].net.state_dict()
    assert all(torch.equal(held[name], value) for name, value in wanted.items())
    whole = start == "fresh" and phase == RANDOM
    assert made[0].steps == (fair_steps(means.recipe) if whole else means.recipe.finetune.steps)


def test_all_that_are_compared_learn_from_the_same_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    means = shop(tmp_path, "search")
    held: dict[str, dict[str, Stream]] = {}

    def train(self: Workshop, phase: str, make: Any, streams: Callable[[], dict[str, Stream]], *_: Any) -> Trained:
        held[phase] = streams()
        return Trained(make().net, 0, 0.0, self.task)

    monkeypatch.setattr(Workshop, "train", train)
    found, path = means.supernet("mamba", "softmax", "search"), ["mamba", "gpt-neo"]
    train_alone(means)
    finetune(means, found, path, "fine-tune")
    train_baselines(means, found, "mamba", path)
    contenders["soft"](means, {"home": "mamba"})
    contenders["path"](means, {"home": "mamba", "path": path, "steps": 2})
    assert set(held) > {"alone gpt-neo", "alone mamba", "uniform mixture", RANDOM, "fine-tune", "train"}
    batches = {phase: streams["weights"].batch(1)["input_ids"] for phase, streams in held.items() if phase != "search"}
    assert all(torch.equal(batch, batches["train"]) for batch in batches.values())
    other = replace(means, recipe=replace(means.recipe, run=replace(means.recipe.run, seed=1)))
    assert not torch.equal(lessons(other)["weights"].batch(1)["input_ids"], batches["train"])
