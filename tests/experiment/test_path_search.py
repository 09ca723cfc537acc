"""Searches that train paths by themselves: the winner keeps its training, and an interrupted search resumes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import manticore as mc
from manticore.errors import ManticoreError
from manticore.experiment import path_search
from manticore.experiment.budget import largest_component_parameters
from manticore.experiment.experiment import Experiment
from manticore.experiment.phases import finetune_stream
from manticore.experiment.run_dir import RunDir
from manticore.nas.cost import PathCosts
from manticore.nas.discretize import discretize
from manticore.nas.strategies.halving import rounds
from manticore.tasks.catalog import tasks
from manticore.training.modules import TrainModule
from manticore.training.trainer import fit
from tests.helpers.toy_task import NAME, QUICK, which_end

pytestmark = pytest.mark.e2e

SPACE = mc.SearchSpace(["gpt-neo", "mamba"], stages=2, base="mamba")
SEARCH = {"steps": 24, "warmup_steps": 2, "batch_size": 4}
BASELINES = {"components": False, "uniform": False}


@pytest.fixture(autouse=True)
def task() -> Iterator[None]:
    tasks.register(NAME)(which_end)
    yield
    tasks._items.pop(NAME)


def search(out: Path, strategy: str, resume: bool = False, **options: Any) -> mc.Result:
    sections = {**QUICK, "search": {**SEARCH, "strategy": strategy}, "baselines": BASELINES, **options}
    return mc.search(SPACE, NAME, out=out, resume=resume, quiet=True, **sections)


def records(folder: Path) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = json.loads((folder / "paths.json").read_text())
    return read


def test_the_rounds_of_halving() -> None:
    assert rounds(16, 800) == [(16, 12), (8, 25), (4, 50), (2, 100)]
    assert rounds(3, 24) == [(3, 4), (2, 6)]
    assert rounds(1, 24) == []
    assert all(sum(count * more for count, more in rounds(count, 500)) <= 500 for count in range(2, 40))
    with pytest.raises(ManticoreError, match="16 paths cannot be halved within 20 steps"):
        rounds(16, 20)


def test_the_winner_of_halving_is_trained_as_if_there_had_been_no_search(tmp_path: Path) -> None:
    result = search(tmp_path / "run", "halving")
    tried = records(result.folder)
    assert [record["steps"] for record in tried] == [3] * 4 + [9] * 2
    losses = {tuple(record["path"]): record["loss"] for record in tried if record["steps"] == 9}
    assert result.path == min(losses, key=lambda path: losses[path])
    discarded = 3 * 3 + 1 * 6
    steps = SEARCH["steps"] + QUICK["finetune"]["steps"] - discarded

    run_dir = RunDir(tmp_path / "alone")
    exp = Experiment.open(result.recipe, run_dir, Console(quiet=True))
    model = discretize(exp.supernet("mamba", "softmax", "search"), result.path, **exp.task.config_fields())
    module = TrainModule(model, exp.recipe.finetune.weights, steps)
    fit(module, finetune_stream(exp), "alone", run_dir.checkpoints, exp.hardware, exp.console)
    hybrid = result.hybrid.state_dict()
    assert all(torch.equal(hybrid[name], value) for name, value in module.net.state_dict().items())
    row = {row.name: row for row in result.rows}
    assert row["discretized, after fine-tuning"].train_tokens - row["soft supernet"].train_tokens == module.tokens
    assert not (result.folder / "paths").exists(), "states of paths are needed no longer"


@pytest.mark.parametrize("strategy", ["halving", "marginal"])
@pytest.mark.parametrize("stop", [2, 5])
def test_an_interrupted_search_of_paths_has_the_same_result(
    strategy: str, stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = search(tmp_path / "whole", strategy)
    calls = []

    def interrupted(*arguments: Any, **options: Any) -> None:
        calls.append(arguments)
        if len(calls) == stop:
            raise InterruptedError("power failure")
        fit(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(path_search, "fit", interrupted)
        if stop <= len(records(whole.folder)):
            with pytest.raises(InterruptedError):
                search(tmp_path / "parts", strategy)
    parts = search(tmp_path / "parts", strategy, resume=True)
    assert records(parts.folder) == records(whole.folder)
    assert parts.path == whole.path
    for name in ("search", "fine-tune", "random-path"):
        weights = [(result.folder / "checkpoints" / f"{name}.safetensors").read_bytes() for result in (whole, parts)]
        assert weights[0] == weights[1], name

    (parts.folder / "metrics.json").unlink()
    again = search(tmp_path / "parts", strategy, resume=True)
    assert {name: score.value for name, score in again.scores.items()} == {
        name: score.value for name, score in whole.scores.items()
    }


def test_marginal_scores_add_up(tmp_path: Path) -> None:
    result = search(tmp_path / "run", "marginal")
    base, *single = records(result.folder)
    assert base["path"] == ["mamba", "mamba"]
    assert [record["path"] for record in single] == [["gpt-neo", "mamba"], ["mamba", "gpt-neo"]]
    assert {record["steps"] for record in (base, *single)} == {8}
    gains = [base["loss"] - record["loss"] for record in single]
    assert list(result.path) == ["gpt-neo" if gain > 0 else "mamba" for gain in gains]
    spent = {row.name: row.train_tokens for row in result.rows}["soft supernet"]
    assert spent == sum(record["tokens"] for record in (base, *single))


def test_a_budget_leaves_out_paths_before_they_are_trained(tmp_path: Path) -> None:
    result = search(tmp_path / "run", "halving", selection={"max_parameters": "largest_component"})
    limit = largest_component_parameters(result._experiment)
    costs = PathCosts(result.supernet(), 10)
    tried = {tuple(record["path"]) for record in records(result.folder)}
    assert tried == {path for path in SPACE.choices.paths() if costs.parameters(path) <= limit}
    assert 1 < len(tried) < 4
