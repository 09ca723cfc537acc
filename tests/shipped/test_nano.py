"""The pair that comes along tells English: in bits, and in words. The same sizes with random weights do not."""

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
"""Five pieces of text that neither model has learnt from."""

BITS = 2.0
"""More than either needs for a byte of them: 1.85 and 1.81. Random weights need 3.5."""

WORDS = 0.85
"""Share of what is said that is a word of the text that comes along: 0.98 by either, 0.4 and 0.6 by random weights."""

PROMPTS = ("In the course of", "The whale")


def untaught(name: str, folder: Path) -> Path:
    """The model before it learnt anything."""
    model, words = read_folder(assets.find("models", name))
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(model.config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def told(capsys: pytest.CaptureFixture[str], source: object) -> list[str]:
    """The words with which a model goes on from PROMPTS."""
    out = ""
    for prompt in PROMPTS:
        drawing = ("--max-new-tokens", 60, "--temperature", 0.8, "--top-k", 50)
        status, text, err = call(capsys, "generate", source, "--prompt", prompt, *drawing)
        assert status == 0, err
        out += text
    return spelled(out)


def spelled(text: str) -> list[str]:
    """Words, without case and punctuation."""
    return re.findall("[a-z]+", text.lower())


@pytest.mark.parametrize("name", ["gpt-neo-nano", "mamba-nano"])
def test_bits_of_prose_it_has_not_read(name: str, tmp_path: Path) -> None:
    install()
    taught, raw = (
        bits_per_byte(*read_folder(folder), PASSAGES, 256)
        for folder in (assets.find("models", name), untaught(name, tmp_path))
    )
    assert taught < BITS < raw / 1.5


@pytest.mark.parametrize("name", ["gpt-neo-nano", "mamba-nano"])
def test_what_it_says_is_mostly_words(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    known = set(spelled(" ".join(sample())))
    taught, raw = (
        sum(word in known for word in words) / len(words)
        for words in (told(capsys, name), told(capsys, untaught(name, tmp_path)))
    )
    assert taught > WORDS > raw


@pytest.mark.parametrize(
    ("name", "base", "other"),
    [("nano-gpt-neo-base", "gpt-neo-nano", "mamba-nano"), ("nano-mamba-base", "mamba-nano", "gpt-neo-nano")],
)
def test_a_projector_set_that_comes_along_makes_a_hybrid_that_works(
    name: str, base: str, other: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Untrained, with three stages of five from the other model. Without the set it knows much less."""
    assert name in assets.names("projectors")
    bits, path = [], ",".join([base, other, base, other, other])
    for more in (["--projectors", name], []):
        out = tmp_path / str(len(bits))
        models = ["--models", f"{base},{other}", "--base", base]
        assert call(capsys, "export", *models, "--path", path, *more, "--out", out)[0] == 0
        bits.append(bits_per_byte(*read_folder(out), PASSAGES, 256))
    alone = bits_per_byte(*read_folder(assets.find("models", base)), PASSAGES, 256)
    assert alone < bits[0] < alone + 0.15 < alone + 0.4 < bits[1]
