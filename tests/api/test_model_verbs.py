"""Functions on models and folders do what the commands do, and return what they have made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import manticore as mc
from manticore.alignment.projector_set import ProjectorSet
from manticore.errors import ManticoreError
from manticore.pipelines.finetune import FinetuneResult
from manticore.results.training import FinetuneScores, PretrainScores
from manticore.training.scoring import score
from tests.helpers.cli import call
from tests.helpers.model_folders import model_folder
from tests.helpers.trained_tokenizers import sample

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("cached")]


@pytest.fixture(scope="module")
def result(pico_run: Path) -> mc.Result:
    return mc.Result.load(pico_run)


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("text") / "text.txt"
    file.write_text("\n<|endoftext|>\n".join(sample()[:8]), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two pretrained models of two layers with tokenizers."""
    folder = tmp_path_factory.mktemp("models")
    return [model_folder(folder / "gpt", "gpt_neo"), model_folder(folder / "mamba", "mamba")]


def test_a_model_is_scored_on_its_own_task(result: mc.Result, capsys: pytest.CaptureFixture[str]) -> None:
    measured = mc.evaluate(result, quiet=True)
    assert (measured.value, measured.count) == (result.metrics.hybrid.score.value, 200)
    assert capsys.readouterr().out == ""
    assert mc.evaluate(result.folder / "hybrid", quiet=True) == measured
    assert mc.evaluate(result, set={"task.test": 50}, quiet=True).count == 50
    assert mc.evaluate(result, {"test": 50}, quiet=True) == mc.evaluate(
        result, "lra-listops", set=["task.test=50"], quiet=True
    )


def test_an_exported_folder_has_the_name_of_its_task_only(
    result: mc.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = mc.export(result, out=tmp_path / "moved", quiet=True)
    assert folder == tmp_path / "moved"
    sizes = {"preset": "cpu", "train": 2000, "val": 200, "test": 200}
    assert mc.evaluate(folder, sizes, quiet=True) == mc.evaluate(result, quiet=True)
    with pytest.raises(ManticoreError, match="is a task of text; name its own task, such as --task lra-listops"):
        mc.evaluate(folder, "text", quiet=True)


def test_a_component_is_scored_by_its_name(models: list[Path], text: Path) -> None:
    task = {"name": "text", "data_dir": text.parent, "test": 1}
    measured = mc.evaluate(models[0], task, quiet=True)
    assert measured.bits_per_byte == pytest.approx(mc.evaluate(str(models[0]), task, batch_size=1).value, rel=1e-5)
    with pytest.raises(ManticoreError, match="does not say which task it was trained on; name one"):
        mc.evaluate(models[0])


def test_the_weights_of_the_search_are_exported_without_fine_tuning(
    result: mc.Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    searched, ids = mc.export(result, out=tmp_path / "searched", trained=False), torch.tensor([[3, 4, 5, 6]])
    assert "with the weights of the search; fine-tune it next" in capsys.readouterr().out
    loaded, discrete = mc.load(searched), result.discretize(result.path).eval()
    state = discrete.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())
    with torch.no_grad():  # sums depend on the alignment of the weights in memory
        torch.testing.assert_close(loaded(ids).logits, discrete(ids).logits, rtol=0, atol=1e-5)
    assert call(capsys, "export", result.folder, "--no-trained", "--out", tmp_path / "typed")[0] == 0
    weights = [load_file(folder / "model.safetensors") for folder in (searched, tmp_path / "typed")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


def val_score(result: mc.Result, model: object) -> float:
    return float(result._experiment.score(model, "val").value)  # type: ignore[arg-type]


def test_the_hybrid_of_a_result_is_trained_further(result: mc.Result, tmp_path: Path) -> None:
    out = tmp_path / "longer"
    longer = result.finetune(steps=3, out=out, quiet=True)
    assert isinstance(longer, FinetuneResult)
    assert longer.folder == out
    scores = longer.scores
    assert (scores.task, scores.steps, scores.before.value) == (
        "lra-listops@short",
        3,
        val_score(result, result.hybrid),
    )
    assert scores.after.value == val_score(result, longer.model)
    assert scores == FinetuneScores.load(out)
    assert tuple(longer.model.config.path) == result.path
    assert not torch.equal(*(model.state_dict()["score.weight"] for model in (longer.model, result.hybrid)))
    assert result.finetune(steps=3, out=out, quiet=True, resume=True).scores == scores
    with pytest.raises(ManticoreError, match="with other options: steps was 3 and is 4 now; resume with the same"):
        result.finetune(steps=4, out=out, quiet=True, resume=True)


def test_another_path_starts_from_the_weights_of_the_search(result: mc.Result, tmp_path: Path) -> None:
    path = ["mamba", "gpt-neo", "gpt-neo", "mamba"]
    assert tuple(path) != result.path
    trained = result.finetune(path, 2, out=tmp_path / "path", lr=1e-3, batch_size=8, seed=1, quiet=True)
    assert trained.scores.before.value == val_score(result, result.discretize(path))
    assert trained.model.config.path == path
    card = (tmp_path / "path" / "hybrid" / "README.md").read_text(encoding="utf-8")
    assert "Its weights are those of the search" in card
    assert "## Fine-tuned further\n\n2 steps of 8 sequences" in card
    with pytest.raises(ManticoreError, match="Did you mean 'mamba'"):
        result.finetune(["mamb"] * 4)


def test_fine_tunings_are_put_below_the_run_by_default(
    result: mc.Result, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from manticore.pipelines import finetune

    calls = []
    monkeypatch.setattr(finetune, "run_from", lambda *arguments: calls.append(arguments))
    result.finetune()
    ((folder, path, training, run, out, _, resume, trust_code),) = calls
    assert (folder, path, resume, trust_code) == (result.folder, None, False, False)
    assert (training, run) == (result.recipe.finetune, result.recipe.run)
    assert out == result.folder / "finetuned" / "-".join(result.path)


def test_finetune_of_a_result_uses_its_task(
    result: mc.Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained = mc.finetune(result, out=tmp_path / "out", steps=2, batch_size=4, set={"task.val": 20}, quiet=True)
    assert (trained.scores.task, trained.scores.before.count) == ("lra-listops@short", 20)
    assert mc.evaluate(trained, quiet=True).count == 200, "evaluate reads the task of the fine-tuning"
    with pytest.raises(
        ManticoreError, match=r"which has no page: its scores are in .*scores\.json, and manticore eval"
    ):
        mc.report(trained)
    status, out, _ = call(capsys, "evaluate", tmp_path / "out" / "hybrid", "--set", "task.test=7")
    assert status == 0
    # A test split of another size begins at another example, so some of it was in the training splits.
    assert "of the 7 test examples were trained or selected on, and are left out" in out


def test_report_writes_the_page_of_a_result(pico_run: Path, tmp_path: Path) -> None:
    from shutil import copytree

    copied = mc.Result.load(copytree(pico_run, tmp_path / "run"))
    (copied.folder / "report.html").unlink()
    assert mc.report(copied) == copied.folder / "report.html"
    assert (copied.folder / "report.html").is_file()
    with pytest.raises(ManticoreError, match=r"is an exported model, which has no page: its card is .*README\.md"):
        mc.report(copied.folder / "hybrid")


def test_a_projector_set_is_fitted_and_used(models: list[Path], text: Path, tmp_path: Path) -> None:
    projectors = mc.align(models, text, out=tmp_path / "set", stages=2, tokens=600, length=32, quiet=True)
    assert isinstance(projectors, ProjectorSet)
    assert (projectors.folder, projectors.stages, projectors.donors) == (tmp_path / "set", 2, ["mamba"])
    loaded = ProjectorSet.load(tmp_path / "set")
    assert all(torch.equal(loaded.weights[key], projectors.weights[key]) for key in loaded.weights)
    assert "in hybrids of 2 stages: `manticore search" in (tmp_path / "set" / "README.md").read_text(encoding="utf-8")
    hybrid = mc.export(models=models, path=["gpt", "mamba"], projectors=projectors, out=tmp_path / "hybrid", quiet=True)
    assert mc.load(hybrid).config.path == ["gpt", "mamba"]  # type: ignore[union-attr]
    with pytest.raises(ManticoreError, match="was fitted for 2 stages, not for 1; fit a set for 1"):
        mc.export(models=models, path=["gpt"], projectors=projectors, out=tmp_path / "other")
    space = mc.SearchSpace(models, stages=2, base="mamba", projector="low-rank", projector_options={"rank": 3})
    low_rank = mc.align(space, [text], out=tmp_path / "low-rank", tokens=600, length=32, bypass=False, quiet=True)
    assert (low_rank.base, dict(low_rank.projector)) == ("mamba", {"kind": "low-rank", "rank": 3})


def test_a_small_model_is_pretrained(text: Path, tmp_path: Path) -> None:
    keys = {
        "vocabulary": 300,
        "length": 32,
        "steps": 3,
        "batch_size": 4,
        "passage": 1000,
        "held_out": 0.1,
        "size": {"width": 16, "layers": 2, "heads": 2, "window_size": 8},
        "run.device": "cpu",
    }
    trained = mc.pretrain("pretrain/gpt-neo-nano", text, out=tmp_path / "out", set=keys, quiet=True)
    assert trained.folder == tmp_path / "out" / "model"
    assert trained.model.config.hidden_size == 16
    assert 2 < trained.scores.bits_per_byte["all"] < 10
    assert trained.scores == PretrainScores.load(tmp_path / "out")
    again = mc.pretrain("pretrain/gpt-neo-nano", text, out=tmp_path / "out", set=keys, resume=True, quiet=True)
    assert again == trained
    with pytest.raises(ManticoreError, match="is the folder of a pretraining, which has no page"):
        mc.report(tmp_path / "out")


def test_text_is_generated_as_on_the_command_line(models: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    pieces: list[str] = []
    out = mc.generate(models[0], "It is", max_new_tokens=8, on_text=pieces.append)
    assert "".join(pieces) == out
    assert call(capsys, "generate", models[0], "--prompt", "It is", "--max-new-tokens", 8)[1] == f"{out}\n"


def test_the_scores_of_a_fine_tuning_do_not_depend_on_the_interface(
    result: mc.Result, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"steps": 2, "batch_size": 4, "lr": 1e-3, "seed": 5}
    trained = mc.finetune(result.folder, out=tmp_path / "python", **options, quiet=True)  # type: ignore[arg-type]
    typed = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", value)]
    assert call(capsys, "finetune", result.folder, "--out", tmp_path / "typed", *typed)[0] == 0
    assert replace(FinetuneScores.load(tmp_path / "typed")) == trained.scores
    weights = [load_file(tmp_path / name / "hybrid" / "model.safetensors") for name in ("python", "typed")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    model = trained.model
    splits = result._experiment.task.splits()
    assert score(model, splits.val, result._experiment.task.collate, 256).accuracy == trained.scores.after.value
