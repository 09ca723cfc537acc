"""Searches that train paths by themselves: the winner keeps its training, and an interrupted search resumes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

import manticore as mc
from manticore.errors import ManticoreError, NonFiniteLoss
from manticore.experiment import path_search
from manticore.experiment.budget import largest_component_cost
from manticore.experiment.experiment import Experiment
from manticore.experiment.phases import finetune_stream
from manticore.experiment.run_dir import RunDir
from manticore.nas.cost import PathCosts
from manticore.nas.discretize import discretize
from manticore.nas.resources import Resource
from manticore.nas.strategies.halving import rounds
from manticore.report.run.reading import read_curves, read_run
from manticore.training.modules import TrainModule
from manticore.training.trainer import fit
from tests.helpers.toy_task import NAME, QUICK

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("toy_task")]

SPACE = mc.SearchSpace(["gpt-neo", "mamba"], stages=2, base="mamba")
SEARCH = {"steps": 24, "warmup_steps": 2, "batch_size": 4}
FINETUNE = {"steps": 9, "batch_size": 4}
BASELINES = {"components": False, "uniform": False}


def search(out: Path, strategy: str, resume: bool = False, **options: Any) -> mc.Result:
    sections = {**QUICK, "search": {**SEARCH, "strategy": strategy}, "finetune": FINETUNE, "baselines": BASELINES}
    sections |= options
    return mc.search(SPACE, NAME, out=out, resume=resume, quiet=True, **sections)


def records(folder: Path) -> list[dict[str, Any]]:
    read: list[dict[str, Any]] = json.loads((folder / "paths.json").read_text())["records"]
    return read


def test_the_rounds_of_halving() -> None:
    assert rounds(16, 800) == [(16, 12), (8, 25), (4, 50), (2, 100)]
    assert rounds(3, 24) == [(3, 4), (2, 6)]
    assert rounds(1, 24) == []
    assert all(sum(count * more for count, more in rounds(count, 500)) <= 500 for count in range(2, 40))
    with pytest.raises(ManticoreError, match=r"halving 16 paths needs 64 steps .* has 20"):
        rounds(16, 20)


def test_the_winner_of_halving_is_trained_as_if_there_had_been_no_search(tmp_path: Path) -> None:
    result = search(tmp_path / "run", "halving")
    tried = records(result.folder)
    assert [record["steps"] for record in tried] == [3] * 4 + [9] * 2
    losses = {tuple(record["path"]): record["loss"] for record in tried if record["steps"] == 9}
    assert result.path == min(losses, key=lambda path: losses[path])
    discarded = 3 * 3 + 1 * 6
    steps = SEARCH["steps"] + FINETUNE["steps"] - discarded

    run_dir = RunDir(tmp_path / "alone")
    exp = Experiment.open(result.recipe, run_dir, Console(quiet=True))
    model = discretize(exp.supernet("mamba", "softmax", "search"), result.path, **exp.task.config_fields())
    module = TrainModule(model, exp.recipe.finetune.weights, steps, exp.loop())
    fit(module, finetune_stream(exp), "alone", run_dir.checkpoints, exp.hardware, exp.console)
    hybrid = result.hybrid.state_dict()
    assert all(torch.equal(hybrid[name], value) for name, value in module.net.state_dict().items())
    row = {row.name: row for row in result.rows}
    (curve,) = (curve for curve in read_run(result.folder).curves if curve.phase == "fine-tune")
    (expected,) = read_curves(run_dir.root / "logs" / "csv", ["alone"])
    assert [step for step, _ in curve.loss] == list(range(1, steps + 1)), "with the steps of the search"
    assert curve.loss == expected.loss
    spent = sum(
        {tuple(record["path"]): record["tokens"] for record in tried if tuple(record["path"]) != result.path}.values()
    )
    assert row["discretized, after fine-tuning"].train_tokens == spent + module.tokens
    kept = [record["tokens"] for record in tried if tuple(record["path"]) == result.path][-1]
    assert row["soft supernet"].train_tokens == spent + kept
    assert not (result.folder / "paths").exists(), "states of paths are needed no longer"


@pytest.mark.parametrize("strategy", ["halving", "marginal"])
@pytest.mark.parametrize("stop", [2, 3])
@pytest.mark.parametrize("where", ["before training", "before scoring"])
def test_an_interrupted_search_of_paths_has_the_same_result(
    strategy: str, stop: int, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = search(tmp_path / "whole", strategy)
    calls = []

    def interrupted(original: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            calls.append(arguments)
            if len(calls) == stop:
                raise InterruptedError("power failure")
            return original(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        if where == "before training":
            patch.setattr(path_search, "fit", interrupted(fit))
        else:
            patch.setattr(Experiment, "score", interrupted(Experiment.score))
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
    for value in ("rows", "stage_scores"):
        assert getattr(again.metrics, value) == getattr(whole.metrics, value)
    assert set(again.metrics.seconds) == set(whole.metrics.seconds)


def test_a_path_that_diverges_is_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverging(module: TrainModule, *arguments: Any, **options: Any) -> None:
        if tuple(module.net.config.path) == ("gpt-neo", "gpt-neo") and module.until is not None:
            raise NonFiniteLoss("the loss became nan")
        fit(module, *arguments, **options)

    monkeypatch.setattr(path_search, "fit", diverging)
    result = search(tmp_path / "run", "halving")
    losses = {tuple(record["path"]): record["loss"] for record in records(result.folder)[:4]}
    assert losses[("gpt-neo", "gpt-neo")] is None
    assert result.metrics.stage_scores is not None
    assert "4 paths were scored by halving" in result.metrics.stage_scores.rule


@pytest.mark.parametrize(
    "space",
    [
        mc.SearchSpace(["gpt-neo", "mamba", "mamba2"], stages=2, base="mamba", skip=True, shared_stages=[[1, 2]]),
        mc.SearchSpace(["gpt-neo", "mamba"], stages=2, topology="hub"),
        mc.SearchSpace(["gpt-neo", "mamba"], stages=2, base="mamba", stage_candidates={1: ["mamba", "gpt-neo"]}),
    ],
    ids=["three components that choose together", "hub", "own candidates"],
)
@pytest.mark.parametrize("strategy", ["halving", "marginal"])
def test_any_space_is_searched(space: mc.SearchSpace, strategy: str, tmp_path: Path) -> None:
    if strategy == "marginal" and space.topology == "hub":
        pytest.skip("the hub has no base to replace stages of")
    sections = {**QUICK, "search": {**SEARCH, "strategy": strategy}, "finetune": {**FINETUNE, "steps": 20}}
    result = mc.search(space, NAME, out=tmp_path / "run", quiet=True, baselines=BASELINES, **sections)
    assert set(result.path) != {"skip"}
    space.choices.check(result.path)


def test_mistakes_are_named_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(ManticoreError, match=r"halving 4 paths needs 8 steps .* has 6"):
        search(tmp_path / "run", "halving", search={**QUICK["search"], "strategy": "halving"})
    with pytest.raises(ManticoreError, match="trains paths for 8 steps, and leaves 3"):
        search(tmp_path / "run", "marginal", finetune={"steps": 3, "batch_size": 4})
    with pytest.raises(ManticoreError, match=r"leave out selection\.selector"):
        search(tmp_path / "run", "halving", selection={"selector": "beam"})
    space = mc.SearchSpace(["gpt-neo", "mamba"], stages=2, base="mamba", stage_candidates={1: ["gpt-neo"]})
    with pytest.raises(ManticoreError, match="'mamba' is no candidate of stage 1"):
        mc.search(
            space, NAME, out=tmp_path / "run", quiet=True, **QUICK | {"search": {**SEARCH, "strategy": "marginal"}}
        )
    assert not (tmp_path / "run").exists()


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
    result = search(tmp_path / "run", "halving", selection={"max": ["parameters=largest_component"]})
    limit = largest_component_cost(result._experiment, Resource("parameters"))
    costs = PathCosts(result.supernet(), 10)
    tried = {tuple(record["path"]) for record in records(result.folder)}
    assert tried == {path for path in SPACE.choices.paths() if costs.parameters(path) <= limit}
    assert 1 < len(tried) < 4
