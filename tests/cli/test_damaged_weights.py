"""Damaged weights, and configurations that contradict them, are errors of one line on the command line."""

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
from tests.helpers.text_hybrids import export_hybrid, hybrid_tokenizer

pytestmark = pytest.mark.e2e

Damage = Callable[[Path], object]


def cut(size: int) -> Damage:
    return lambda folder: (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:size])


def flip(index: int) -> Damage:
    def damage(folder: Path) -> None:
        content = bytearray((folder / "model.safetensors").read_bytes())
        content[index] ^= 0xFF
        (folder / "model.safetensors").write_bytes(bytes(content))

    return damage


def with_config(key: str, value: Any) -> Damage:
    """Set a value in config.json; dots separate nested keys."""

    def damage(folder: Path) -> None:
        config = section = json.loads((folder / "config.json").read_text())
        *above, last = key.split(".")
        for name in above:
            section = section[name]
        section[last] = value
        (folder / "config.json").write_text(json.dumps(config))

    return damage


def with_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    def damage(folder: Path) -> None:
        tensors = load_file(str(folder / "model.safetensors"))
        change(tensors)
        save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})

    return damage


def fourth(tensors: dict[str, torch.Tensor]) -> str:
    return sorted(tensors)[3]


BOTH: dict[str, tuple[Damage, str]] = {
    **{f"cut at {size}": (cut(size), "cannot be read") for size in (0, 4, 8, 50, -1, -100)},
    **{f"flipped {index}": (flip(index), "cannot be read") for index in (0, 7, 8, 100)},
    "one less": (
        with_tensors(lambda tensors: tensors.pop(fourth(tensors))),
        "1 of its tensors are missing, the first is",
    ),
    "shape": (
        with_tensors(lambda tensors: tensors.update({fourth(tensors): torch.zeros(3, 5)})),
        "the shape (3, 5), expected",
    ),
    "nan": (
        with_tensors(lambda tensors: tensors[fourth(tensors)].fill_(float("nan"))),
        "has values that are not finite",
    ),
    "vocabulary": (with_config("vocab_size", 50), "expected (50, "),
    "no kind": (with_config("model_type", None), "cannot be read"),
}
GPT2: dict[str, tuple[Damage, str]] = {
    "width": (with_config("n_embd", 32), "expected (96,)"),
    "deeper": (with_config("n_layer", 5), "12 of its tensors are missing"),
    "shallower": (with_config("n_layer", 3), "tensors are unexpected, the first is transformer.h.3"),
    "heads": (with_config("n_head", 3), "divisible by num_heads"),
    "text": (with_config("n_embd", "x"), "Validation error for field 'n_embd'"),
    "positions": (with_config("n_positions", 7), "expected (7, 16)"),
}
HYBRID: dict[str, tuple[Damage, str]] = {
    "one more": (
        with_tensors(lambda tensors: tensors.update(stray=torch.zeros(3))),
        "1 tensors are unexpected, the first is stray",
    ),
    "width": (with_config("hidden_size", 33), "expected (24, 33)"),
    "component": (with_config("components.gpt2.config.n_embd", 48), "expected (336, 48)"),
    "depth": (
        with_config("components.gpt2.config.n_layer", 2),
        "of 'gpt2' do not match its layers and stages",
    ),
    "layer_boundaries": (
        with_config("components.gpt2.layer_boundaries", [0, 1, 4]),
        "num_hidden_layers=5 of a hybrid follows from its components: it is 6",
    ),
    "path": (with_config("path", ["mamba", "gpt3"]), "'gpt3'. Did you mean 'gpt2'?"),
    "short path": (with_config("path", ["mamba"]), "do not match its layers and stages"),
    "base": (with_config("base", ""), "unknown component in"),
    "topology": (with_config("topology", "hyb"), "'hyb'. Did you mean 'hub'?"),
    "projector": (with_config("projector", {"kind": "nope"}), "projector 'nope' is not registered"),
    "family": (with_config("components.gpt2.config.model_type", "nope"), "cannot be read"),
}
CASES = [(kind, *case) for kind, own in (("gpt2", GPT2), ("hybrid", HYBRID)) for case in {**BOTH, **own}.items()]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a component and a hybrid."""
    folder = tmp_path_factory.mktemp("sound")
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(vocab_size=336, n_embd=16, n_layer=4, n_head=2)).save_pretrained(folder / "gpt2")
    hybrid_tokenizer().save_pretrained(folder / "gpt2")
    export_hybrid(folder / "hybrid")
    return folder


@pytest.mark.parametrize(("kind", "name", "case"), CASES, ids=[f"{kind}: {name}" for kind, name, _ in CASES])
def test_damage_is_reported_in_one_line(
    capsys: pytest.CaptureFixture[str], sound: Path, tmp_path: Path, kind: str, name: str, case: tuple[Damage, str]
) -> None:
    copy = Path(shutil.copytree(sound / kind, tmp_path / kind))
    damage, message = case
    damage(copy)
    error = refusal(capsys, "generate", copy, "--prompt", "It is")
    assert message in error
    assert str(copy) in error
    assert [entry.name for entry in tmp_path.iterdir()] == [kind]
