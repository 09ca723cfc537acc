"""`manticore pretrain` at pico size: a folder that loads, a score of what was held out, resuming, wrong use."""

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
    words = f"pretrain --config pretrain/{name} --text {text} --out {out} {PICO} {SIZES[name]} {more}"
    return main(shlex.split(words))


@pytest.fixture(scope="module")
def out(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    assert pretrain("gpt-neo-nano", text, folder / "gpt") == 0
    assert pretrain("mamba-nano", text, folder / "mamba", f"--tokenizer {folder / 'gpt' / 'model'}") == 0
    return folder


@pytest.mark.parametrize("name", ["gpt", "mamba"])
def test_the_folder_is_a_component(out: Path, name: str) -> None:
    folder = out / name / "model"
    made = load(ComponentSpec(str(folder)))
    assert made.pretrained
    assert made.tokenizer is not None
    assert len(made.tokenizer) == made.config.vocab_size == 300
    assert made.config.eos_token_id == made.tokenizer.eos_token_id
    stored = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    assert {parameter.dtype for parameter in stored.parameters()} == {torch.float16}
    assert not list((out / name / "checkpoints").glob("*.ckpt"))


def test_both_read_with_the_same_tokenizer(out: Path) -> None:
    words = [AutoTokenizer.from_pretrained(out / name / "model") for name in ("gpt", "mamba")]
    assert words[0].get_vocab() == words[1].get_vocab()
    text = "Übung  macht\n\nden Meister. 🙂"
    assert words[0].decode(words[1](text)["input_ids"]) == text


def test_the_card_tells_every_file(out: Path) -> None:
    card = (out / "gpt" / "model" / "README.md").read_text()
    assert "| a.txt |" in card
    assert "| b.txt |" in card
    assert "| all |" in card


def test_a_stopped_pretraining_comes_to_the_same(
    out: Path, text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = callbacks.SaveState.on_train_batch_end

    def stop(self: callbacks.SaveState, trainer: object, module: object, *rest: object) -> None:
        save(self, trainer, module, *rest)
        if module.done == 4:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    monkeypatch.setattr(callbacks.SaveState, "on_train_batch_end", stop)
    assert pretrain("gpt-neo-nano", text, tmp_path / "gpt") == 130
    monkeypatch.setattr(callbacks.SaveState, "on_train_batch_end", save)
    assert not (tmp_path / "gpt" / "model").exists()
    assert pretrain("gpt-neo-nano", text, tmp_path / "gpt") == 2
    assert pretrain("gpt-neo-nano", text, tmp_path / "gpt", "--resume") == 0
    held = [AutoModelForCausalLM.from_pretrained(folder / "gpt" / "model").state_dict() for folder in (out, tmp_path)]
    assert all(torch.equal(held[0][key], held[1][key]) for key in held[0])


def test_what_is_held_out_is_not_learnt_from(out: Path, text: Path, tmp_path: Path) -> None:
    """Other letters at the end of every file: other scores, the same tokenizer and weights."""
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


def test_what_is_left_out_is_not_learnt_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.txt").write_text("\n\n".join(sample()[:5]), encoding="utf-8")
    words = f"--decontaminate {tmp_path / 'other.txt'}"
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "c.txt").write_text("\n<|endoftext|>\n".join(sample()[3:9]), encoding="utf-8")
    assert pretrain("gpt-neo-nano", tmp_path / "corpus", tmp_path / "out", words) == 0
    asked = json.loads((tmp_path / "out" / "pretrain.json").read_text())
    assert asked["decontaminate"].endswith("other.txt")
    capsys.readouterr()
    assert pretrain("gpt-neo-nano", tmp_path / "corpus", tmp_path / "left", words) == 0
    left = tokens_told(capsys.readouterr().out)
    assert pretrain("gpt-neo-nano", tmp_path / "corpus", tmp_path / "whole") == 0
    assert 0 < left < 0.75 * tokens_told(capsys.readouterr().out), "two of six documents are in the other text"


def tokens_told(said: str) -> int:
    """The number of tokens that are learnt from, as it is printed."""
    told = re.search(r"([\d,]+) tokens of", said)
    assert told is not None
    return int(told[1].replace(",", ""))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("--set size.widht=3", "unknown recipe key 'size.widht'. Did you mean 'size.width'?"),
        ("--set family=mambo", "unknown family 'mambo'"),
        ("--set weights.optimizer=muom", "unknown optimizer 'muom'. Did you mean 'muon'?"),
        ("--set steps=0", "steps must be at least 1"),
        ("--set weights.lr=-1", "weights.lr must be at least 0, got -1"),
        ("--set passage=0 --set held_out=2", "held_out must be above 0 and below 1"),
        ("--tokenizer nowhere", "nowhere holds no tokenizer"),
    ],
)
def test_wrong_use(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: str, said: str) -> None:
    assert pretrain("gpt-neo-nano", text, tmp_path / "out", more) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out" / "model").exists()
    assert not (tmp_path / "out" / "pretrain.json").exists()


def test_binary_text_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0")
    assert pretrain("gpt-neo-nano", tmp_path, tmp_path / "out") == 2
    assert "not UTF-8 text" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
