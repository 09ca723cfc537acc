"""`manticore grow` on real files: the twin and what its layers keep, a resumed run, and errors of one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import manticore as mc
from manticore.components import ComponentSpec, load
from manticore.growth import jobs
from manticore.modeling.twins import RecurrentAttention
from manticore.pipelines import grow
from manticore.pipelines.grow import work_folder
from manticore.results.growth import GrowthResult
from tests.cli.test_align import byte_pairs, write_model
from tests.helpers.cli import call, refusal

pytestmark = pytest.mark.e2e

FAMILIES = {"neo": "gpt_neo", "two": "gpt2", "neox": "gpt_neox", "lama": "llama"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A parent of each kind of family, a recurrent model, a model without tokenizer, and a text."""
    root = tmp_path_factory.mktemp("models")
    for name, family in FAMILIES.items():
        write_model(root / name, family, byte_pairs(("t", "h"), ("th", "e")))
    write_model(root / "snake", "mamba", byte_pairs(("t", "h"), ("th", "e")))
    write_model(root / "mute", "llama", None)
    text = "the other thing was there when née Müller was singing in the evening, or so they thought. "
    (root / "text.txt").write_text("".join(text[start % 7 :] for start in range(80)), encoding="utf-8")
    return root


def arguments(folder: Path, out: Path, name: str = "lama") -> list[object]:
    sizes = ["--tokens", 640, "--length", 32, "--steps", 3]
    return [folder / name, "--text", folder / "text.txt", *sizes, "--out", out]


def test_a_twin_in_bfloat16_is_that_of_single_precision_but_for_rounding(folder: Path, tmp_path: Path) -> None:
    results = []
    for precision in ("32-true", "bf16-mixed"):
        options = {"tokens": 640, "length": 32, "steps": 3, "precision": precision, "quiet": True}
        results.append(mc.grow(folder / "lama", folder / "text.txt", out=tmp_path / precision, **options).result)  # type: ignore[arg-type]
    single, half = results
    assert half.loss != single.loss
    assert half.loss == pytest.approx(single.loss, rel=1e-2)
    for mixed, exact in zip(half.layers, single.layers, strict=True):
        assert mixed.error == pytest.approx(exact.error, rel=0.05)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_twin_is_a_component_with_the_tokenizer_of_its_parent(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out = tmp_path / "twin"
    status, printed, _ = call(
        capsys, "grow", *arguments(folder, out, name), "--mixer", "mamba" if name == "two" else "mamba2"
    )
    assert status == 0
    assert "layer 2:" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["twin"]
    twin, parent = load(ComponentSpec(str(out))), load(ComponentSpec(str(folder / name)))
    assert twin.family is not parent.family
    assert (twin.width, twin.depth, twin.tied) == (parent.width, parent.depth, parent.tied)
    assert sum(isinstance(module, RecurrentAttention) for module in twin.model.modules()) == 2
    assert AutoTokenizer.from_pretrained(out).get_vocab() == parent.tokenizer.get_vocab()  # type: ignore[union-attr]
    result = GrowthResult.load(out)
    assert [layer.layer for layer in result.layers] == [1, 2]
    assert (result.tokens, result.held_out) == (640, 64)
    ids = torch.randint(3, 200, (1, 9))
    model = AutoModelForCausalLM.from_pretrained(out)
    torch.testing.assert_close(model(input_ids=ids).logits, twin.model(input_ids=ids).logits)
    assert "2 recurrent layers" in (out / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_some_layers_are_replaced_by_several_processes(folder: Path, tmp_path: Path) -> None:
    grown = [
        mc.grow(folder / "lama", folder / "text.txt", out=tmp_path / str(workers), tokens=640, length=32, steps=3,
                layers=[2], workers=workers, quiet=True)
        for workers in (1, 2)
    ]  # fmt: skip
    first, second = (each.model.state_dict() for each in grown)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert grown[0].model.config.layer_types == ["full_attention", "linear_attention"]
    scores = [each.result.layers for each in grown]
    assert [layer.error for layer in scores[0]] == [layer.error for layer in scores[1]]


def test_a_killed_run_is_resumed(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer that is trained is not trained again, and the pairs that are cached are not cached again."""
    out = tmp_path / "twin"
    trained: list[int] = []

    def work(job: dict[str, Any]) -> dict[str, float]:
        if job["layer"] == 1 and len(trained) == 1:
            trained.append(-1)
            raise KeyboardInterrupt
        trained.append(job["layer"])
        return jobs.run_layer(job)

    monkeypatch.setattr(grow, "run_layer", work)
    assert call(capsys, "grow", *arguments(folder, out))[0] == 130
    assert not out.exists()
    assert work_folder(out).is_dir()
    status, printed, _ = call(capsys, "grow", *arguments(folder, out))
    assert status == 0
    assert "caching" not in printed
    assert trained == [0, -1, 1]
    assert not work_folder(out).exists()
    whole = mc.grow(
        folder / "lama", folder / "text.txt", out=tmp_path / "whole", tokens=640, length=32, steps=3, quiet=True
    )
    own, resumed = whole.model.state_dict(), load(ComponentSpec(str(out))).model.state_dict()
    assert all(torch.equal(own[name], resumed[name]) for name in own)


def test_other_text_or_options_are_not_resumed(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed run with other text has left is removed."""
    options = {"tokens": 640, "length": 32, "steps": 2, "quiet": True}
    (tmp_path / "other.txt").write_text("they sing the same thing in the morning. " * 90, encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(grow, "untrained_twin", None)  # the run ends behind the training
        with pytest.raises(TypeError):
            mc.grow(folder / "lama", folder / "text.txt", out=tmp_path / "twin", **options)
    resumed = mc.grow(folder / "lama", tmp_path / "other.txt", out=tmp_path / "twin", **options)
    fresh = mc.grow(folder / "lama", tmp_path / "other.txt", out=tmp_path / "fresh", **options)
    assert [layer.error for layer in resumed.result.layers] == [layer.error for layer in fresh.result.layers]


def test_a_model_object_is_a_parent(folder: Path, tmp_path: Path) -> None:
    parent = load(ComponentSpec(str(folder / "two")))
    grown = mc.grow(parent.model, folder / "text.txt", tokenizer=parent.tokenizer, out=tmp_path / "twin", tokens=640,
                    length=32, steps=0, quiet=True)  # fmt: skip
    assert grown.model.config.parent_weights == parent.weight_hash


INVALID = [
    (["--layers", "3"], "--layers must name some of the layers 1 to 2, each once, got '3'"),
    (["--mixer", "gru"], "unknown mixer 'gru'. Known: mamba, mamba2."),
    (["--mixer", "mamba", "--groups", "2"], "--heads and --groups are of mamba2; mamba has neither"),
    (["--heads", "3"], "mamba_n_heads (3) must divide the 16 channels of the mixer"),
    (["--cache-gb", "0.00001"], "and --cache-gb allows 1e-05: allow more, or use fewer --tokens"),
    (["--text", "nowhere.txt"], "no such file or folder of text: nowhere.txt"),
]


@pytest.mark.parametrize(("more", "message"), INVALID, ids=[" ".join(more) for more, _ in INVALID])
def test_invalid_arguments_are_refused_in_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert message in refusal(capsys, "grow", *arguments(folder, tmp_path / "out"), *more)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("snake", "'snake' is a mamba, which has no attention to replace"),
        ("mute", "'mute' has no tokenizer"),
    ],
)
def test_models_that_cannot_be_grown_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    assert message in refusal(capsys, "grow", *arguments(folder, tmp_path / "out", name))
    assert list(tmp_path.iterdir()) == []


def test_blocks_fit_the_positions_of_the_parent(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = refusal(capsys, "grow", *arguments(folder, tmp_path / "out", "two"), "--length", 65)
    assert "a block of 65 tokens exceeds the context length of 'two' (64); use --length 64 or less" in error


def test_too_little_text_is_refused_with_its_size(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "short.txt").write_text("the thing " * 30, encoding="utf-8")
    error = refusal(capsys, "grow", *arguments(folder, tmp_path / "out"), "--text", tmp_path / "short.txt")
    assert "the text has 128 tokens in blocks of 32, and a twin needs 512 at least: give more text" in error
