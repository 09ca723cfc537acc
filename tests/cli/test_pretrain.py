"""`manticore pretrain` at pico size: a folder that loads, scores of held-out text, resuming, invalid use."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from manticore.cli import main
from manticore.components import load
from manticore.components.spec import ComponentSpec
from manticore.training import callbacks
from tests.helpers.trained_tokenizers import sample

pytestmark = pytest.mark.e2e

PICO = """
    --set vocabulary=300 --set length=32 --set steps=6 --set batch_size=4 --set passage=1000 --set held_out=0.1
    --set run.device=cpu --set run.checkpoint_every=2
"""
SIZES = {
    "gpt-neo-nano": "--set 'size={width: 16, layers: 2, heads: 2, window_size: 8}'",
    "mamba-nano": "--set 'size={width: 16, layers: 2, state_size: 4}'",
}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for name, part in (("a", sample()[:6]), ("b", sample()[100:106])):
        (folder / f"{name}.txt").write_text("\n<|endoftext|>\n".join(part), encoding="utf-8")
    return folder


def pretrain(name: str, text: Path, out: Path, more: str = "") -> int:
    arguments = f"pretrain --config pretrain/{name} --text {text} --out {out} {PICO} {SIZES[name]} {more}"
    return main(shlex.split(arguments))


@pytest.fixture(scope="module")
def out(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    assert pretrain("gpt-neo-nano", text, folder / "gpt") == 0
    assert pretrain("mamba-nano", text, folder / "mamba", f"--tokenizer {folder / 'gpt' / 'model'}") == 0
    return folder


@pytest.mark.parametrize("name", ["gpt", "mamba"])
def test_the_folder_is_a_component(out: Path, name: str) -> None:
    folder = out / name / "model"
    component = load(ComponentSpec(str(folder)))
    assert component.pretrained
    assert component.tokenizer is not None
    assert len(component.tokenizer) == component.config.vocab_size == 300
    assert component.config.eos_token_id == component.tokenizer.eos_token_id
    stored = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert {parameter.dtype for parameter in stored.parameters()} == {torch.float16}
    assert not list((out / name / "checkpoints").glob("*.ckpt"))


def test_both_have_the_same_tokenizer(out: Path) -> None:
    tokenizers = [AutoTokenizer.from_pretrained(out / name / "model") for name in ("gpt", "mamba")]
    assert tokenizers[0].get_vocab() == tokenizers[1].get_vocab()
    text = "Übung  macht\n\nden Meister. 🙂"
    assert tokenizers[0].decode(tokenizers[1](text)["input_ids"]) == text


def test_the_card_has_a_row_for_every_file(out: Path) -> None:
    card = (out / "gpt" / "model" / "README.md").read_text()
    assert "| a.txt |" in card
    assert "| b.txt |" in card
    assert "| all |" in card


def test_a_resumed_pretraining_gives_the_same_weights(
    out: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = callbacks.Checkpointer.on_train_batch_end

    def stop(self: callbacks.Checkpointer, trainer: object, module: object, *rest: object) -> None:
        save(self, trainer, module, *rest)
        if module.step_count == 4:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    monkeypatch.setattr(callbacks.Checkpointer, "on_train_batch_end", stop)
    assert pretrain("gpt-neo-nano", text, tmp_path / "gpt") == 130
    monkeypatch.setattr(callbacks.Checkpointer, "on_train_batch_end", save)
    assert not (tmp_path / "gpt" / "model").exists()
    assert pretrain("gpt-neo-nano", text, tmp_path / "gpt") == 2
    assert pretrain("gpt-neo-nano", text, tmp_path / "gpt", "--resume") == 0
    states = [AutoModelForCausalLM.from_pretrained(folder / "gpt" / "model").state_dict() for folder in (out, tmp_path)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_held_out_text_is_not_trained_on(out: Path, text: Path, tmp_path: Path) -> None:
    """Different letters at the end of every file change the scores, but neither tokenizer nor weights."""
    (tmp_path / "corpus").mkdir()
    for file in text.iterdir():
        whole = file.read_text(encoding="utf-8")
        other = whole[:-200] + re.sub("[a-z]", "q", whole[-200:])
        (tmp_path / "corpus" / file.name).write_text(other, encoding="utf-8")
    assert pretrain("gpt-neo-nano", tmp_path / "corpus", tmp_path / "gpt") == 0
    folders = [folder / "gpt" / "model" for folder in (out, tmp_path)]
    for name in ("tokenizer.json", "model.safetensors"):
        assert folders[0].joinpath(name).read_bytes() == folders[1].joinpath(name).read_bytes()
    scores = [re.findall(r"\.txt \| (.*) \|", (folder / "README.md").read_text()) for folder in folders]
    assert len(scores[0]) == 2
    assert all(float(other) > float(own) for own, other in zip(*scores, strict=True))


def test_decontaminated_paragraphs_are_not_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.txt").write_text("\n\n".join(sample()[:5]), encoding="utf-8")
    flags = f"--decontaminate {tmp_path / 'other.txt'}"
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "c.txt").write_text("\n<|endoftext|>\n".join(sample()[3:9]), encoding="utf-8")
    assert pretrain("gpt-neo-nano", tmp_path / "corpus", tmp_path / "out", flags) == 0
    asked = json.loads((tmp_path / "out" / "pretrain.json").read_text())
    assert asked["decontaminate"].endswith("other.txt")
    capsys.readouterr()
    assert pretrain("gpt-neo-nano", tmp_path / "corpus", tmp_path / "left", flags) == 0
    left = training_tokens(capsys.readouterr().out)
    assert pretrain("gpt-neo-nano", tmp_path / "corpus", tmp_path / "whole") == 0
    assert 0 < left < 0.75 * training_tokens(capsys.readouterr().out), "two of six documents overlap"


def training_tokens(output: str) -> int:
    """The printed number of training tokens."""
    match = re.search(r"([\d,]+) training tokens", output)
    assert match is not None
    return int(match[1].replace(",", ""))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--set size.widht=3", "unknown recipe key 'size.widht'. Did you mean 'size.width'?"),
        ("--set family=mambo", "unknown family 'mambo'"),
        ("--set weights.optimizer=muom", "unknown weights.optimizer 'muom'. Did you mean 'muon'?"),
        ("--set steps=0", "steps must be a whole number of at least 1"),
        ("--set weights.lr=-1", "weights.lr must be a number above 0, got -1"),
        ("--set passage=0 --set held_out=2", "held_out must be a number above 0 and below 1"),
        ("--tokenizer nowhere", "nowhere holds no tokenizer"),
    ],
)
def test_invalid_use_is_refused(
    text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: str, message: str
) -> None:
    assert pretrain("gpt-neo-nano", text, tmp_path / "out", more) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out" / "model").exists()
    assert not (tmp_path / "out" / "pretrain.json").exists()


def test_binary_text_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    assert pretrain("gpt-neo-nano", tmp_path, tmp_path / "out") == 2
    assert "not UTF-8 text" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
