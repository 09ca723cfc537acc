"""The shipped pair of models predicts and generates English; random weights of the same sizes do not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from manticore.kernels import install
from manticore.utils import assets
from tests.helpers.cli import call
from tests.helpers.model_folders import bits_per_byte, read_folder
from tests.helpers.trained_tokenizers import sample

pytestmark = pytest.mark.e2e

PASSAGES = [passage[:1200] for passage in sample()[::50]]
"""Five passages that neither model was trained on."""

BITS = 2.0
"""A bound on bits per byte of the passages: 1.85 and 1.81 with the shipped weights, 3.5 with random weights."""

WORDS = 0.85
"""A bound on the share of generated words that the sample text has: 0.98 shipped, 0.4 and 0.6 with random weights."""

PROMPTS = ("In the course of", "The whale")


def random_model(name: str, folder: Path) -> Path:
    """A model with the config and tokenizer of a shipped one, and random weights."""
    model, tokenizer = read_folder(assets.find("models", name))
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(model.config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def generated_words(capsys: pytest.CaptureFixture[str], source: object) -> list[str]:
    """The words that a model generates after PROMPTS."""
    out = ""
    for prompt in PROMPTS:
        sampling = ("--max-new-tokens", 60, "--temperature", 0.8, "--top-k", 50)
        status, text, err = call(capsys, "generate", source, "--prompt", prompt, *sampling)
        assert status == 0, err
        out += text
    return words_of(out)


def words_of(text: str) -> list[str]:
    """The words of a text, without case and punctuation."""
    return re.findall("[a-z]+", text.lower())


@pytest.mark.parametrize("name", ["gpt-neo-nano", "mamba-nano"])
def test_bits_per_byte_of_unseen_prose(name: str, tmp_path: Path) -> None:
    install()
    trained, random = (
        bits_per_byte(*read_folder(folder), PASSAGES, 256)
        for folder in (assets.find("models", name), random_model(name, tmp_path))
    )
    assert trained < BITS < random / 1.5


@pytest.mark.parametrize("name", ["gpt-neo-nano", "mamba-nano"])
def test_generated_text_is_mostly_words(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = set(words_of(" ".join(sample())))
    trained, random = (
        sum(word in known for word in words) / len(words)
        for words in (generated_words(capsys, name), generated_words(capsys, random_model(name, tmp_path)))
    )
    assert trained > WORDS > random


@pytest.mark.parametrize(
    ("name", "base", "donor"),
    [("nano-gpt-neo-base", "gpt-neo-nano", "mamba-nano"), ("nano-mamba-base", "mamba-nano", "gpt-neo-nano")],
)
def test_a_hybrid_with_a_shipped_projector_set_is_close_to_its_base(
    name: str, base: str, donor: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The hybrid has three donor stages of five and is not trained. Without the set its loss is much larger."""
    assert name in assets.names("projectors")
    bits, path = [], ",".join([base, donor, base, donor, donor])
    for more in (["--projectors", name], []):
        out = tmp_path / str(len(bits))
        models = ["--models", f"{base},{donor}", "--base", base]
        assert call(capsys, "export", *models, "--path", path, *more, "--out", out)[0] == 0
        bits.append(bits_per_byte(*read_folder(out), PASSAGES, 256))
    base_bits = bits_per_byte(*read_folder(assets.find("models", base)), PASSAGES, 256)
    assert base_bits < bits[0] < base_bits + 0.15 < base_bits + 0.4 < bits[1]
