"""What the hybrid starts its fine-tuning from, and what a random path is given."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from manticore.discretization import discretize
from manticore.runs.folder import RunFolder
from manticore.runs.machine import prepare
from manticore.runs.phases import RANDOM, fair_steps, finetune
from manticore.runs.wording import label_fields
from manticore.runs.workshop import Workshop
from manticore.supernet import Supernet
from manticore.tasks.catalog import load_task
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
