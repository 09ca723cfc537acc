"""Damaged, donor and pickled files are refused with one line that names them; nothing else is touched."""

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
    """The run, as if it had been killed after the search."""
    copy = Path(shutil.copytree(pico_run, tmp_path / "run"))
    for name in ("metrics.json", "report.html"):
        (copy / name).unlink()
    shutil.rmtree(copy / "hybrid")
    return copy


def state(folder: Path) -> Path:
    """Pretend that the fine-tuning was under way."""
    for name in ("fine-tune.json", "fine-tune.safetensors"):
        (folder / "checkpoints" / name).unlink()
    return folder / "checkpoints" / "fine-tune.ckpt"


class Trap:
    """Runs code when it is unpickled."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.sprung}",)


@pytest.mark.parametrize(
    "content",
    [b"garbage", b"", b"PK\x03\x04 cut short"],
    ids=["garbage", "empty", "cut short"],
)
def test_a_state_that_is_none(capsys: pytest.CaptureFixture[str], unfinished: Path, content: bytes) -> None:
    state(unfinished).write_bytes(content)
    told = refusal(capsys, "search", "--out", unfinished, "--resume")
    assert "checkpoints/fine-tune.ckpt: damaged, or no checkpoint of this run" in told
    assert (unfinished / "checkpoints" / "fine-tune.ckpt").read_bytes() == content
    assert not (unfinished / "metrics.json").exists()


def test_a_state_is_never_unpickled(capsys: pytest.CaptureFixture[str], unfinished: Path, tmp_path: Path) -> None:
    state(unfinished).write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    assert "damaged, or no checkpoint" in refusal(capsys, "search", "--out", unfinished, "--resume")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("donor", [{"a": 1}, [1, 2]], ids=["mapping", "list"])
def test_a_state_of_something_else(capsys: pytest.CaptureFixture[str], unfinished: Path, donor: object) -> None:
    torch.save(donor, state(unfinished))
    assert "damaged, or no checkpoint" in refusal(capsys, "search", "--out", unfinished, "--resume")


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def _other(file: Path) -> None:
    save_file({"a": torch.zeros(2)}, str(file))


def _wider(file: Path) -> None:
    save_file({**load_file(str(file)), "alpha": torch.zeros(9, 2)}, str(file))


def _text(text: str) -> Callable[[Path], object]:
    return lambda file: file.write_text(text)


@pytest.mark.parametrize(
    ("name", "harm", "message"),
    [
        ("checkpoints/search.safetensors", _cut, "not a safetensors file, or cut short"),
        ("checkpoints/search.safetensors", _other, "weights of another model"),
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
def test_a_run_with_a_damaged_file(
    capsys: pytest.CaptureFixture[str], unfinished: Path, name: str, harm: Callable[[Path], object], message: str
) -> None:
    harm(unfinished / name)
    told = refusal(capsys, "search", "--out", unfinished, "--resume")
    assert f"{unfinished / name}:" in told
    assert message in told


@pytest.mark.parametrize("words", [["export", "--out", "out"], ["report"], ["evaluate"], ["finetune", "--out", "out"]])
def test_an_unfinished_run(
    capsys: pytest.CaptureFixture[str], unfinished: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(unfinished.parent)
    told = refusal(capsys, words[0], unfinished, *words[1:])
    assert "is not finished; continue it: manticore search" in told or "holds no hybrid" in told
    assert [entry.name for entry in unfinished.parent.iterdir()] == ["run"]


@pytest.mark.parametrize("text", ["{", "[]", '{"rows": 3}'])
def test_a_report_of_damaged_metrics(capsys: pytest.CaptureFixture[str], unfinished: Path, text: str) -> None:
    (unfinished / "metrics.json").write_text(text)
    assert "metrics.json:" in refusal(capsys, "report", unfinished)


@pytest.fixture
def gpt2(tmp_path: Path) -> Path:
    """A local folder with a small GPT-2."""
    GPT2LMHeadModel(GPT2Config(vocab_size=61, n_embd=16, n_layer=4, n_head=2)).save_pretrained(tmp_path / "gpt2")
    return tmp_path / "gpt2"


@pytest.mark.parametrize("words", [["evaluate"], ["finetune", "--out", "out"]])
def test_another_model_is_no_hybrid(
    capsys: pytest.CaptureFixture[str], gpt2: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(gpt2.parent)
    assert "holds a gpt2 model, not a manticore hybrid" in refusal(capsys, words[0], gpt2, *words[1:])
    assert [entry.name for entry in gpt2.parent.iterdir()] == ["gpt2"]


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_cut, "cannot be read as a hybrid"),
        (_other, "tensors are missing"),
        (lambda file: file.rename(file.with_name("pytorch_model.bin")), "pickled weights (pytorch_model.bin)"),
        (Path.unlink, "it holds no weights"),
        (lambda file: (file.parent / "config.json").write_text("{"), "cannot be read as a hybrid"),
    ],
    ids=["cut short", "donor", "pickle", "gone", "config"],
)
def test_a_damaged_hybrid(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path, harm: Callable[[Path], object], message: str
) -> None:
    copy = Path(shutil.copytree(pico_run / "hybrid", tmp_path / "hybrid"))
    harm(copy / "model.safetensors")
    told = refusal(capsys, "evaluate", copy)
    assert str(copy) in told
    assert message in told


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (_cut, "cannot be read as a Hugging Face model"),
        (_other, "tensors are missing"),
        (lambda file: file.rename(file.with_name("pytorch_model.bin")), "pickled weights (pytorch_model.bin)"),
        (Path.unlink, "holds no weights"),
        (lambda file: (file.parent / "config.json").unlink(), "has no config.json"),
        (lambda file: (file.parent / "config.json").write_text("{"), "cannot be read as a Hugging Face model"),
        (lambda file: (file.parent / "config.json").write_text(json.dumps({"model_type": "opt"})), "family 'opt'"),
    ],
    ids=["cut short", "donor", "pickle", "gone", "no config", "broken config", "other family"],
)
def test_a_damaged_component(
    capsys: pytest.CaptureFixture[str], gpt2: Path, harm: Callable[[Path], object], message: str
) -> None:
    harm(gpt2 / "model.safetensors")
    told = refusal(capsys, "search", *SIZES, "--models", f"{gpt2},mamba", "--out", gpt2.parent / "out")
    assert message in told
    assert not (gpt2.parent / "out").exists()


def test_a_task_with_another_vocabulary(capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path) -> None:
    @tasks.register("two-letters")
    def two_letters(options: TaskOptions) -> SampledTask:
        words = lambda rng: (rng.choices("ab", k=9), 0)  # noqa: E731
        return SampledTask("two-letters", Vocabulary.of("ab"), ("one", "two"), 12, words, options)

    try:
        for words in (["evaluate", pico_run], ["finetune", pico_run, "--out", tmp_path / "out"]):
            told = refusal(capsys, *words, "--task", "two-letters")
            assert "this hybrid reads 18 token ids and has 10 labels; two-letters has 5 and 2" in told
    finally:
        tasks._items.pop("two-letters")
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_no_number_is_one_line_and_keeps_the_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    quick = ["--set", "search.weights.lr=1.0e30", "--set", "baselines.components=false"]
    quick += ["--set", "run.checkpoint_every=1"]
    told = refusal(capsys, "search", *PICO, *quick, "--out", tmp_path / "run")
    assert "the loss became nan" in told
    assert "the last saved state is kept" in told
    assert [entry.name for entry in (tmp_path / "run" / "checkpoints").iterdir()] == ["search.ckpt"]
    assert (
        torch.load(tmp_path / "run" / "checkpoints" / "search.ckpt", weights_only=True)["manticore"]["step_count"] > 0
    )
    assert (tmp_path / "run" / "recipe.yaml").exists()
