"""Weights cut short, flipped or swapped, and configurations that disagree with them: one line each, through the CLI."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel

from tests.helpers.cli import refusal
from tests.helpers.text_hybrids import exported, words

pytestmark = pytest.mark.e2e

Harm = Callable[[Path], object]


def cut(size: int) -> Harm:
    return lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:size])


def flip(place: int) -> Harm:
    def harm(folder: Path) -> None:
        held = bytearray((folder / "model.safetensors").read_bytes())
        held[place] ^= 0xFF
        (folder / "model.safetensors").write_bytes(bytes(held))

    return harm


def says(key: str, value: Any) -> Harm:
    """Another value in config.json; dots go down."""

    def harm(folder: Path) -> None:
        held = place = json.loads((folder / "config.json").read_text())
        *above, last = key.split(".")
        for name in above:
            place = place[name]
        place[last] = value
        (folder / "config.json").write_text(json.dumps(held))

    return harm


def with_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Harm:
    def harm(folder: Path) -> None:
        held = load_file(str(folder / "model.safetensors"))
        change(held)
        save_file(held, str(folder / "model.safetensors"), metadata={"format": "pt"})

    return harm


def fourth(held: dict[str, torch.Tensor]) -> str:
    return sorted(held)[3]


BOTH: dict[str, tuple[Harm, str]] = {
    **{f"cut at {size}": (cut(size), "cannot be read") for size in (0, 4, 8, 50, -1, -100)},
    **{f"flipped {place}": (flip(place), "cannot be read") for place in (0, 7, 8, 100)},
    "one less": (with_tensors(lambda held: held.pop(fourth(held))), "1 of its tensors are missing, the first is"),
    "shape": (
        with_tensors(lambda held: held.update({fourth(held): torch.zeros(3, 5)})),
        "the shape (3, 5), expected",
    ),
    "nan": (with_tensors(lambda held: held[fourth(held)].fill_(float("nan"))), "has values that are not finite"),
    "vocabulary": (says("vocab_size", 50), "expected (50, "),
    "no kind": (says("model_type", None), "cannot be read"),
}
GPT2: dict[str, tuple[Harm, str]] = {
    "width": (says("n_embd", 32), "expected (96,)"),
    "deeper": (says("n_layer", 5), "12 of its tensors are missing"),
    "shallower": (says("n_layer", 3), "tensors are unexpected, the first is transformer.h.3"),
    "heads": (says("n_head", 3), "divisible by num_heads"),
    "text": (says("n_embd", "x"), "Validation error for field 'n_embd'"),
    "positions": (says("n_positions", 7), "expected (7, 16)"),
}
HYBRID: dict[str, tuple[Harm, str]] = {
    "one more": (
        with_tensors(lambda held: held.update(stray=torch.zeros(3))),
        "1 tensors are unexpected, the first is stray",
    ),
    "width": (says("hidden_size", 33), "expected (24, 33)"),
    "component": (says("components.gpt2.config.n_embd", 48), "expected (336, 48)"),
    "depth": (
        says("components.gpt2.config.n_layer", 2),
        "of 'gpt2' do not match its layers and stages",
    ),
    "layer_boundaries": (says("components.gpt2.layer_boundaries", [0, 1, 4]), "12 of its tensors are missing"),
    "path": (says("path", ["mamba", "gpt3"]), "'gpt3'. Did you mean 'gpt2'?"),
    "short path": (says("path", ["mamba"]), "do not match its layers and stages"),
    "base": (says("base", ""), "unknown component in"),
    "topology": (says("topology", "hyb"), "'hyb'. Did you mean 'hub'?"),
    "projector": (says("projector", {"kind": "nope"}), "projector 'nope' is not registered"),
    "family": (says("components.gpt2.config.model_type", "nope"), "cannot be read"),
}
CASES = [(kind, *case) for kind, own in (("gpt2", GPT2), ("hybrid", HYBRID)) for case in {**BOTH, **own}.items()]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a component and a hybrid."""
    folder = tmp_path_factory.mktemp("sound")
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=336, n_embd=16, n_layer=4, n_head=2)).save_pretrained(folder / "gpt2")
    words().save_pretrained(folder / "gpt2")
    exported(folder / "hybrid")
    return folder


@pytest.mark.parametrize(("kind", "name", "case"), CASES, ids=[f"{kind}: {name}" for kind, name, _ in CASES])
def test_one_line(
    capsys: pytest.CaptureFixture[str], sound: Path, tmp_path: Path, kind: str, name: str, case: tuple[Harm, str]
) -> None:
    copy = Path(shutil.copytree(sound / kind, tmp_path / kind))
    harm, message = case
    harm(copy)
    told = refusal(capsys, "generate", copy, "--prompt", "It is")
    assert message in told
    assert str(copy) in told
    assert [entry.name for entry in tmp_path.iterdir()] == [kind]
