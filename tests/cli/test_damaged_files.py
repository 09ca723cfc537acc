"""Damaged, unrelated and pickled files are refused with one line that names them; no other file is changed."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from manticore.tasks.catalog import tasks
from manticore.tasks.options import TaskOptions
from manticore.tasks.sampled import SampledTask
from manticore.tasks.vocabulary import Vocabulary
from tests.helpers.cli import PICO, SIZES, refusal

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("cached")]


@pytest.fixture
def unfinished(pico_run: Path, tmp_path: Path) -> Path:
    """A copy of the run without the files that are written after its phases."""
    copy = Path(shutil.copytree(pico_run, tmp_path / "run"))
    for name in ("metrics.json", "report.html"):
        (copy / name).unlink()
    shutil.rmtree(copy / "hybrid")
    return copy


def state_file(folder: Path) -> Path:
    """Removes the results of the fine-tuning, and returns the file of an interrupted fine-tuning."""
    for name in ("fine-tune.json", "fine-tune.safetensors"):
        (folder / "checkpoints" / name).unlink()
    return folder / "checkpoints" / "fine-tune.ckpt"


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize(
    "content",
    [b"garbage", b"", b"PK\x03\x04 cut short"],
    ids=["garbage", "empty", "cut short"],
)
def test_a_damaged_state_is_refused_and_kept(
    capsys: pytest.CaptureFixture[str], unfinished: Path, content: bytes
) -> None:
    state_file(unfinished).write_bytes(content)
    error = refusal(capsys, "search", "--out", unfinished, "--resume")
    assert "checkpoints/fine-tune.ckpt: damaged, or no checkpoint of this run" in error
    assert (unfinished / "checkpoints" / "fine-tune.ckpt").read_bytes() == content
    assert not (unfinished / "metrics.json").exists()


def test_a_state_is_never_unpickled(capsys: pytest.CaptureFixture[str], unfinished: Path, tmp_path: Path) -> None:
    state_file(unfinished).write_bytes(pickle.dumps(Trap(tmp_path / "marker")))
    assert "damaged, or no checkpoint" in refusal(capsys, "search", "--out", unfinished, "--resume")
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("content", [{"a": 1}, [1, 2]], ids=["mapping", "list"])
def test_a_state_with_other_content_is_refused(
    capsys: pytest.CaptureFixture[str], unfinished: Path, content: object
) -> None:
    torch.save(content, state_file(unfinished))
    assert "damaged, or no checkpoint" in refusal(capsys, "search", "--out", unfinished, "--resume")


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def _unrelated(file: Path) -> None:
    save_file({"a": torch.zeros(2)}, str(file))


def _wider(file: Path) -> None:
    save_file({**load_file(str(file)), "alpha": torch.zeros(9, 2)}, str(file))


def _text(text: str) -> Callable[[Path], object]:
    return lambda file: file.write_text(text)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("checkpoints/search.safetensors", _cut, "not a safetensors file, or cut short"),
        ("checkpoints/search.safetensors", _unrelated, "weights of another model"),
        ("checkpoints/search.safetensors", _wider, "weights of another model"),
        ("checkpoints/search.safetensors", Path.unlink, "no such weights"),
        ("checkpoints/search.json", _text("{"), "not JSON"),
        ("checkpoints/search.json", _text("{}"), "not the record of a finished phase"),
        ("recipe.yaml", _text("a: [b"), "not YAML"),
        ("recipe.yaml", _text("- 1"), "a recipe is a mapping"),
        ("metrics.json", _text("{"), "not JSON"),
        ("metrics.json", _text("{}"), 'not a SearchResult (expected an object with "format": 1)'),
    ],
)
def test_a_damaged_file_of_a_run_is_named(
    capsys: pytest.CaptureFixture[str], unfinished: Path, name: str, damage: Callable[[Path], object], message: str
) -> None:
    damage(unfinished / name)
    error = refusal(capsys, "search", "--out", unfinished, "--resume")
    assert f"{unfinished / name}:" in error
    assert message in error


@pytest.mark.parametrize("args", [["export", "--out", "out"], ["report"], ["evaluate"], ["finetune", "--out", "out"]])
def test_other_commands_refuse_an_unfinished_run(
    capsys: pytest.CaptureFixture[str], unfinished: Path, args: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(unfinished.parent)
    error = refusal(capsys, args[0], unfinished, *args[1:])
    assert "is not finished; continue it: manticore search" in error or "holds no model" in error
    assert [entry.name for entry in unfinished.parent.iterdir()] == ["run"]


@pytest.mark.parametrize("text", ["{", "[]", '{"rows": 3}'])
def test_report_names_a_damaged_metrics_file(capsys: pytest.CaptureFixture[str], unfinished: Path, text: str) -> None:
    (unfinished / "metrics.json").write_text(text)
    assert "metrics.json:" in refusal(capsys, "report", unfinished)


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    """A local folder with a small GPT-2."""
    GPT2LMHeadModel(GPT2Config(vocab_size=61, n_embd=16, n_layer=4, n_head=2)).save_pretrained(tmp_path / "gpt2")
    return tmp_path / "gpt2"


def test_a_model_that_is_no_hybrid_is_refused(
    capsys: pytest.CaptureFixture[str], gpt2: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(gpt2.parent)
    error = refusal(capsys, "finetune", gpt2, "--out", "out")
    assert "holds a gpt2 model, not a manticore hybrid" in error
    assert "gpt2 does not say which task it was trained on" in refusal(capsys, "evaluate", gpt2)
    assert "gpt2 has no tokenizer beside its weights" in refusal(capsys, "evaluate", gpt2, "--task", "text")
    assert [entry.name for entry in gpt2.parent.iterdir()] == ["gpt2"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut, "cannot be read as a hybrid"),
        (_unrelated, "1 tensors are fewer than 4 lay"),
        (lambda file: file.rename(file.with_name("pytorch_model.bin")), "pickled weights (pytorch_model.bin)"),
        (Path.unlink, "it holds no weights"),
        (lambda file: (file.parent / "config.json").write_text("{"), "config.json:1: not JSON"),
    ],
    ids=["cut short", "unrelated", "pickle", "gone", "config"],
)
def test_a_damaged_hybrid_is_refused(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    copy = Path(shutil.copytree(pico_run / "hybrid", tmp_path / "hybrid"))
    damage(copy / "model.safetensors")
    error = refusal(capsys, "evaluate", copy)
    assert str(copy) in error
    assert message in error


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut, "cannot be read as a Hugging Face model"),
        (_unrelated, "1 tensors are fewer than 4 lay"),
        (lambda file: file.rename(file.with_name("pytorch_model.bin")), "pickled weights (pytorch_model.bin)"),
        (Path.unlink, "holds no weights"),
        (lambda file: (file.parent / "config.json").unlink(), "has no config.json"),
        (lambda file: (file.parent / "config.json").write_text("{"), "config.json:1: not JSON"),
        (lambda file: (file.parent / "config.json").write_text(json.dumps({"model_type": "opt"})), "family 'opt'"),
    ],
    ids=["cut short", "unrelated", "pickle", "gone", "no config", "broken config", "other family"],
)
def test_a_damaged_component_is_refused(
    capsys: pytest.CaptureFixture[str], gpt2: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(gpt2 / "model.safetensors")
    error = refusal(capsys, "search", *SIZES, "--models", f"{gpt2},mamba", "--out", gpt2.parent / "out")
    assert message in error
    assert not (gpt2.parent / "out").exists()


def test_a_task_with_another_vocabulary_is_refused(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path
) -> None:
    @tasks.register("two-letters")
    def two_letters(options: TaskOptions) -> SampledTask:
        draw = lambda rng: (rng.choices("ab", k=9), 0)  # noqa: E731
        return SampledTask("two-letters", Vocabulary.of("ab"), ("one", "two"), 12, draw, options)

    try:
        for args in (["evaluate", pico_run], ["finetune", pico_run, "--out", tmp_path / "out"]):
            error = refusal(capsys, *args, "--task", "two-letters")
            assert "this hybrid reads 18 token ids and has 10 labels; two-letters has 5 and 2" in error
    finally:
        tasks._items.pop("two-letters")
    assert list(tmp_path.iterdir()) == []


def test_a_nan_loss_is_reported_in_one_line_and_keeps_the_checkpoint(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    options = ["--set", "search.weights.lr=1.0e30", "--set", "baselines.components=false"]
    options += ["--set", "run.checkpoint_every=1"]
    error = refusal(capsys, "search", *PICO, *options, "--out", tmp_path / "run")
    assert "the loss became nan" in error
    assert "the last saved state is kept" in error
    assert [entry.name for entry in (tmp_path / "run" / "checkpoints").iterdir()] == ["search.ckpt"]
    assert (
        torch.load(tmp_path / "run" / "checkpoints" / "search.ckpt", weights_only=True)["manticore"]["step_count"] > 0
    )
    assert (tmp_path / "run" / "recipe.yaml").exists()
