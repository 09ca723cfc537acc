"""Another path and a Pareto front from the scores of a finished search."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from transformers.utils import is_torchao_available

import manticore as mc
from manticore.errors import ManticoreError, UnknownName
from manticore.nas.architecture import Architecture
from manticore.nas.bits import BitCosts, BitPath
from manticore.nas.cost import PathCosts
from manticore.nas.resources import Resource
from manticore.report.run.summary import precision_sentence
from manticore.results.pareto import ParetoFront
from manticore.results.path_scores import SavedScores
from manticore.tasks.catalog import tasks
from tests.helpers.toy_task import NAME, QUICK, which_end

pytestmark = pytest.mark.e2e

CACHE = Resource("cache_bytes", 10)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[mc.Result]:
    """A search whose report has a front."""
    tasks.register(NAME)(which_end)
    yield mc.search(
        mc.SearchSpace(["gpt-neo", "mamba"], stages=2),
        NAME,
        selection={"selector": "evaluated"},
        pareto=["loss", "cache_bytes"],
        baselines={"components": False, "uniform": False, "random": False},
        out=tmp_path_factory.mktemp("select") / "run",
        quiet=True,
        **QUICK,
    )
    tasks._items.pop(NAME)


def test_a_search_saves_its_scores_and_its_front(run: mc.Result) -> None:
    front, saved = ParetoFront.load(run.folder), SavedScores.load(run.folder)
    assert saved.is_loss
    assert len(saved.paths) == len(front.points) == 4
    costs = PathCosts(run.supernet(), 10)
    losses = {each.path: -(each.score or 0) for each in saved.paths}
    for point in front.points:
        assert point.quality == losses[point.path]
        assert point.costs == (costs.cost(point.path, CACHE),)
        better = (each for each in front.points if each.quality <= point.quality and each.costs <= point.costs)
        assert point.on_front == (list(better) == [point])
    assert {point.label for point in front.points} == {"selected", "gpt-neo alone", "mamba alone", "by hand"} - (
        {f"{run.path[0]} alone"} if len(set(run.path)) == 1 else set()
    )
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "Pareto front" in page
    assert "cache_bytes@10 (KiB)" in page


def test_a_path_within_limits_is_selected_and_trained(run: mc.Result, tmp_path: Path) -> None:
    saved, costs = SavedScores.load(run.folder), PathCosts(run.supernet(), 10)
    by_cost = sorted({costs.parameters(each.path) for each in saved.paths})
    limit = by_cost[1]
    selection = mc.select(run, max=[f"parameters={limit:.0f}"], out=tmp_path / "small", quiet=True)
    allowed = [each for each in saved.paths if costs.parameters(each.path) <= limit]
    best = max(allowed, key=lambda each: each.score or 0)
    assert selection.paths == (best.path,)
    model = selection.trained[0].model
    assert sum(parameter.numel() for parameter in model.parameters()) == costs.parameters(best.path)
    with pytest.raises(ManticoreError, match=r"no path has parameters of at most 9; the nearest, .*, has parameters"):
        mc.select(run, max=["parameters=9"], quiet=True)


def test_a_front_is_selected_without_training(run: mc.Result, tmp_path: Path) -> None:
    copied = shutil.copytree(run.folder, tmp_path / "run")
    selection = mc.select(copied, pareto=["loss", "parameters", "cache_bytes@64x2"], quiet=True)
    front = ParetoFront.load(copied)
    assert front.resources == ("parameters", "cache_bytes@64x2")
    assert selection.front == front
    assert selection.paths == tuple(point.path for point in front.front)
    assert "cache_bytes@64x2" in (copied / "report.html").read_text(encoding="utf-8")
    for line, pareto in (
        ("which-end is not measured in bits per byte; use loss", ["bits_per_byte", "parameters"]),
        ("a Pareto front has a quality and one or more resources", ["loss"]),
    ):
        with pytest.raises(ManticoreError, match=line):
            mc.select(copied, pareto=pareto, quiet=True)
    with pytest.raises(UnknownName, match=r"unknown quality of a Pareto front 'los'\. Did you mean 'loss'"):
        mc.select(copied, pareto=["los", "parameters"], quiet=True)


def test_every_path_of_a_front_is_trained_and_exported(run: mc.Result, tmp_path: Path) -> None:
    copied = shutil.copytree(run.folder, tmp_path / "run")
    selection = mc.select(copied, pareto=["loss", "parameters"], out=tmp_path / "front", quiet=True)
    assert [each.folder for each in selection.trained] == [
        tmp_path / "front" / str(number + 1) for number in range(len(selection.paths))
    ]
    assert [tuple(each.model.config.path) for each in selection.trained] == [*selection.paths]


def test_a_run_that_trained_paths_by_themselves_is_selected_from(run: mc.Result, tmp_path: Path) -> None:
    sections = {**QUICK, "search": {**QUICK["search"], "steps": 24, "strategy": "halving"}}
    off = {"components": False, "uniform": False, "random": False}
    space = mc.SearchSpace(["gpt-neo", "mamba"], stages=2, base="mamba")
    result = mc.search(space, NAME, quiet=True, baselines=off, out=tmp_path / "run", **sections)
    saved, costs = SavedScores.load(result.folder), PathCosts(result.supernet(), 10)
    scores = {each.path: each.score for each in saved.paths if each.score is not None}
    limit = sorted(map(costs.parameters, scores))[1]
    best = max((path for path in scores if costs.parameters(path) <= limit), key=lambda path: scores[path])
    assert mc.select(result, max=[f"parameters={limit:.0f}"], quiet=True).paths == (best,)
    front = mc.select(result, pareto=["score", "cache_bytes"], quiet=True).front
    assert front is not None
    assert {point.path for point in front.points} <= {*scores}


def test_a_run_without_scores_and_a_selection_without_limits_are_refused(run: mc.Result, tmp_path: Path) -> None:
    copied = shutil.copytree(run.folder, tmp_path / "run")
    (copied / SavedScores.FILE).unlink()
    with pytest.raises(ManticoreError, match=r"has no scores of paths: there is no path_scores.json in it; search"):
        mc.select(copied, max=["parameters=1M"], quiet=True)
    with pytest.raises(ManticoreError, match="select needs limits or a front"):
        mc.select(copied, quiet=True)
    with pytest.raises(ManticoreError, match="--max parameters=largest_component: give a number here"):
        mc.select(run, max=["parameters=largest_component"], quiet=True)


def test_bits_are_selected_with_the_path(run: mc.Result, capsys: pytest.CaptureFixture[str]) -> None:
    costs = BitCosts(run.supernet(), 10, (16, 8, 4))
    least = min(costs.cost(path, Resource("weight_bytes")) for path in costs.choices.paths())
    limit = f"weight_bytes={1.02 * least:.0f}"
    with pytest.raises(ManticoreError, match="no path has weight_bytes of at most"):
        mc.select(run, max=[limit], quiet=True)
    selection = mc.select(run, max=[limit], bits=[16, 8, 4])
    shown = " ".join(capsys.readouterr().out.split())
    assert "bits of the stages: " in shown
    assert "4; validation loss" in shown
    assert len(selection.paths) == 1
    with pytest.raises(ManticoreError, match="bits of weights are 16, 8 or 4, not 5"):
        mc.select(run, bits=[5], quiet=True)


def test_bits_are_part_of_a_front(run: mc.Result, tmp_path: Path) -> None:
    copied = shutil.copytree(run.folder, tmp_path / "run")
    selection = mc.select(copied, pareto=["loss", "weight_bytes"], bits=[16, 8, 4], quiet=True)
    front, costs = ParetoFront.load(copied), BitCosts(run.supernet(), 10, (16, 8, 4))
    assert selection.front == front
    assert selection.paths == tuple(dict.fromkeys(point.path for point in front.front))
    assert {bits for point in front.points for bits in point.bits} >= {16, 4}
    losses = {each.path: -(each.score or 0) for each in SavedScores.load(copied).paths}
    for point in front.points:
        names = costs.names(BitPath(point.path, point.bits))
        assert point.costs == (costs.cost(names, Resource("weight_bytes")),)
        if {*point.bits} == {16}:
            assert point.quality == pytest.approx(losses[point.path], rel=1e-6)
        better = [each for each in front.points if each.quality <= point.quality and each.costs <= point.costs]
        assert point.on_front == (better == [point])
    cheapest = min(costs.cost(path, Resource("weight_bytes")) for path in costs.choices.paths())
    assert front.front[0].costs == (cheapest,)
    assert {point.label for point in front.points} >= {"selected", "by hand"}
    assert "under simulated quantization" in (copied / "report.html").read_text(encoding="utf-8")
    limited = mc.select(copied, pareto=["loss", "weight_bytes"], bits=[8, 4], max=["parameters=1M"], quiet=True).front
    assert limited is not None
    assert {bits for point in limited.points for bits in point.bits} == {8, 4}


def test_a_search_with_bits_says_that_its_export_is_in_full_precision(
    run: mc.Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space, off = (
        mc.SearchSpace(["gpt-neo", "mamba"], stages=2),
        {"components": False, "uniform": False, "random": False},
    )
    costs = BitCosts(run.supernet(), 10, (8, 4))
    least = min(costs.cost(path, Resource("weight_bytes")) for path in costs.choices.paths())
    options = {**QUICK, "baselines": off, "bits": [8, 4], "max": [f"weight_bytes={1.02 * least:.0f}"]}
    options["pareto"] = ["loss", "weight_bytes"]
    with pytest.raises(ManticoreError, match="bits are chosen by validation losses of paths, and largest-weight does"):
        mc.search(space, NAME, **options, quiet=True, out=tmp_path / "refused")
    result = mc.search(space, NAME, **options, selection={"selector": "evaluated"}, out=tmp_path / "run")
    architecture = Architecture.load(tmp_path / "run" / "architecture.json")
    assert architecture.path == tuple(result.path)
    assert set(architecture.bits) <= {8, 4}
    assert 4 in architecture.bits
    (selected,) = (point for point in ParetoFront.load(tmp_path / "run").points if point.label == "selected")
    assert (selected.path, selected.bits) == (architecture.path, architecture.bits)
    sentence = f"The weights are in full precision: the bits of the path ({architecture.summary()}) were simulated"
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{sentence} in its selection. `manticore export RUN --quantize torchao" in shown
    assert sentence in " ".join((tmp_path / "run" / "hybrid" / "README.md").read_text(encoding="utf-8").split())
    if is_torchao_available():
        out = mc.export(tmp_path / "run", quantize="torchao", out=tmp_path / "small", quiet=True)
        card = " ".join((out / "README.md").read_text(encoding="utf-8").split())
        assert f"## Quantized {architecture.summary()}. The weights of" in card
        assert sentence not in card


def test_a_path_with_16_bits_everywhere_is_not_to_be_quantized() -> None:
    path = {"components": ("a", "b"), "path": ("a", "b"), "base": "a"}
    assert "--quantize" not in precision_sentence(Architecture(**path, bits=(16, 16)))
    assert "--quantize" in precision_sentence(Architecture(**path, bits=(16, 8)))
