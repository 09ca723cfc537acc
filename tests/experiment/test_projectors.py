"""Projectors are fitted or read once for each run, however many checks and supernets need them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from rich.console import Console

from manticore.alignment.projector_set import ProjectorSet
from manticore.config.loading import load_recipe
from manticore.experiment import projectors
from manticore.experiment.experiment import Experiment
from manticore.experiment.run_dir import RunDir

BASE = "gpt-neo-nano"


def aligned_run(folder: Path, **align: Any) -> Experiment:
    """A run on the shipped text with the shipped pair, before its search."""
    keys = {
        "space": {"components": [BASE, "mamba-nano"], "stages": 5, "base": BASE},
        "task": {"name": "text@length=32", "preset": "cpu", "train": 20, "val": 4, "test": 4},
        "align": align,
    }
    exp = Experiment.open(load_recipe(None, keys).recipe, RunDir(folder), Console(quiet=True))
    return exp.for_component(BASE)


def check_and_build(exp: Experiment) -> None:
    """The checks before a run, and two of its supernets, which start from the same projectors."""
    projectors.check_projectors(exp)
    searched, control = (
        projectors.build_aligned_supernet(exp, BASE, "softmax", purpose) for purpose in ("search", "from scratch")
    )
    assert torch.equal(searched.branch(0, "mamba-nano").proj_in.weight, control.branch(0, "mamba-nano").proj_in.weight)


def test_text_is_tokenized_and_projectors_are_fitted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = {name: Mock(wraps=getattr(projectors, name)) for name in ("build_calibration", "fit_projectors")}
    for name, call in calls.items():
        monkeypatch.setattr(projectors, name, call)
    check_and_build(aligned_run(tmp_path, tokens=128))
    assert {name: call.call_count for name, call in calls.items()} == {"build_calibration": 1, "fit_projectors": 1}


def test_a_projector_set_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = Mock(wraps=ProjectorSet.load)
    monkeypatch.setattr(ProjectorSet, "load", load)
    exp = aligned_run(tmp_path, projectors="nano-gpt-neo-base")
    check_and_build(exp)
    assert projectors.base_of_projector_set(exp) == BASE
    assert load.call_count == 1
