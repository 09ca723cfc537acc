"""The result of a search gives back what the run folder has: alphas, supernet, hybrids, components, scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import manticore as mc
from manticore.errors import ManticoreError, UnknownName
from manticore.experiment.run_dir import RunDir
from manticore.results.search import HYBRID_ROW
from manticore.utils.io import read_json


@pytest.fixture(scope="module")
def result(pico_run: Path) -> mc.Result:
    return mc.Result.load(pico_run)


def test_alphas_and_weights_are_those_of_the_record(result: mc.Result) -> None:
    lines = (result.folder / "alphas.jsonl").read_text(encoding="utf-8").splitlines()
    steps, stages, candidates = len(lines), len(result.path), len(result.weights.candidates)
    for history in (result.alphas, result.weights):
        assert np.asarray(history).shape == (steps, stages, candidates)
        assert history.steps.tolist() == sorted(history.steps.tolist())
    np.testing.assert_allclose(np.asarray(result.weights).sum(-1), 1, atol=1e-6)
    exponentials = np.exp(np.asarray(result.alphas)[-1])
    np.testing.assert_allclose(
        np.asarray(result.weights)[-1], exponentials / exponentials.sum(-1, keepdims=True), atol=1e-5
    )


def test_alphas_as_a_frame(result: mc.Result) -> None:
    pandas = pytest.importorskip("pandas")
    frame = result.weights.to_pandas()
    assert isinstance(frame, pandas.DataFrame)
    assert (
        frame[2]["mamba"].tolist()
        == np.asarray(result.weights)[:, 1, result.weights.candidates.index("mamba")].tolist()
    )


def test_the_supernet_has_the_weights_and_alphas_of_the_search(result: mc.Result) -> None:
    supernet = result.supernet()
    assert not supernet.training
    np.testing.assert_allclose(supernet.weights().detach().numpy(), np.asarray(result.weights)[-1], atol=1e-6)
    ids = torch.tensor([[3, 4, 5, 6], [4, 4, 2, 7]])
    with torch.no_grad():
        mixture = supernet(ids)
        selected = supernet(ids, path=result.path)
        torch.testing.assert_close(selected, supernet(ids, weights=supernet.one_hot(result.path)), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(selected, result.discretize(result.path)(ids).logits, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(mixture, selected)
    assert len(supernet.sample()) == len(result.path)


def test_the_hybrid_is_the_finetuned_one_and_scores_what_the_table_says(result: mc.Result, tmp_path: Path) -> None:
    exp = result._experiment
    score = exp.score(result.hybrid, "test")
    assert score.accuracy == result.scores[HYBRID_ROW].value
    folder = result.export(tmp_path / "selected")
    assert "phase 'fine-tune'" in (folder / "README.md").read_text(encoding="utf-8")
    ids = torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad():
        assert torch.equal(mc.load(folder)(ids).logits, result.hybrid(ids).logits)  # type: ignore[operator]
        searched = mc.load(result.export(tmp_path / "searched", trained=False))
        assert not torch.allclose(searched(ids).logits, result.hybrid(ids).logits)  # type: ignore[operator]


def test_components_are_those_that_were_trained_alone(result: mc.Result, tmp_path: Path) -> None:
    assert list(result.components) == ["gpt-neo", "mamba"]
    model = result.components["mamba"]
    score = result._experiment.score(model, "test")
    assert score.accuracy == result.scores["mamba alone"].value
    folder = result.export(tmp_path / "mamba", path=["mamba"] * len(result.path))
    ids = torch.tensor([[3, 4, 5, 6]])
    with torch.no_grad():
        assert torch.equal(mc.load(folder)(ids).logits, model(ids).logits)  # type: ignore[operator]
    with pytest.raises(UnknownName, match=r"'mamab'\. Did you mean 'mamba'"):
        result.components["mamab"]


def test_the_recipe_and_the_rows_are_those_of_the_folder(result: mc.Result) -> None:
    assert result.recipe.space.names == ("gpt-neo", "mamba")
    names = [row["name"] for row in read_json(result.folder / "metrics.json")["rows"]]
    assert [row.name for row in result.rows] == list(result.scores) == names
    assert result.path == tuple(read_json(result.folder / "architecture.json")["path"])


def test_rows_of_paths_say_which(result: mc.Result) -> None:
    paths = {row.name: row.path for row in result.rows if row.path is not None}
    assert list(paths) == ["discretized, before fine-tuning", HYBRID_ROW, "random path"]
    assert paths[HYBRID_ROW] == paths["discretized, before fine-tuning"] == result.path
    stored = {row["name"]: row["path"] for row in read_json(result.folder / "metrics.json")["rows"]}
    drawn = stored["random path"]
    assert tuple(drawn) == paths["random path"] != result.path
    weights = load_file(RunDir(result.folder).weights("random path"))
    donors = {int(key.split(".")[2]) for key in weights if key.startswith("model.stages.") and ".proj_in." in key}
    assert donors == {stage for stage, name in enumerate(drawn) if name != result.metrics.base}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (["mamba"], "names 1 stages; the space has 4"),
        (["mamba", "gpt"] * 2, "Did you mean 'gpt-neo'"),
        ("mamba", "a path is a list of a candidate for each stage, not 'mamba'"),
        (3, "a path is a list of a candidate for each stage, not 3"),
    ],
)
def test_a_path_that_is_none_is_refused(result: mc.Result, path: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ManticoreError, match=message):
        result.discretize(path)
    with pytest.raises(ManticoreError, match=message):
        result.export(tmp_path / "out", path=path)
    assert not (tmp_path / "out").exists()
