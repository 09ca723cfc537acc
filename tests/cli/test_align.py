"""`manticore align` on real files writes a projector set, or nothing and an error of one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from manticore.alignment.projector_set import ProjectorSet
from manticore.components import BlockSize, Scratch, load
from manticore.components.spec import ComponentSpec
from manticore.nas.space import SearchSpace
from manticore.pipelines.assets import listing, validate
from manticore.utils import assets
from manticore.utils.io import read_json
from tests.helpers.cli import call, refusal

pytestmark = pytest.mark.e2e

BYTES = [*sorted(pre_tokenizers.ByteLevel.alphabet())]


def byte_pairs(*merges: tuple[str, str]) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with these merges."""
    vocabulary = {token: index for index, token in enumerate([*BYTES, *(a + b for a, b in merges)])}
    core = Tokenizer(models.BPE(vocabulary, list(merges)))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=core)


def write_model(folder: Path, family: str, tokenizer: PreTrainedTokenizerFast | None) -> None:
    size = BlockSize(width=16, layers=2, heads=2, state_size=4, window_size=8)
    vocab = 260 if tokenizer is None else len(tokenizer)
    load(ComponentSpec(family, init="scratch"), Scratch(size, size, vocab, 64)).model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four models and a text: `neo` and `snake` share a tokenizer, `other` has its own, `mute` has none."""
    root = tmp_path_factory.mktemp("models")
    for name, family in (("neo", "gpt_neo"), ("snake", "mamba")):
        write_model(root / name, family, byte_pairs(("t", "h"), ("th", "e")))
    write_model(root / "other", "gpt2", byte_pairs(("e", "r"), ("i", "n"), ("in", "g")))
    write_model(root / "mute", "mamba", None)
    text = "the other thing was there when née Müller was singing in the evening, or so they thought. "
    (root / "text.txt").write_text("".join(text[start % 7 :] for start in range(80)), encoding="utf-8")
    return root


def arguments(folder: Path, out: Path, models: str = "neo,snake") -> list[object]:
    paths = ",".join(str(folder / name) for name in models.split(","))
    return ["--models", paths, "--text", folder / "text.txt", "--stages", 2, "--length", 32, "--out", out]


@pytest.mark.parametrize(
    ("models", "more"),
    [
        ("neo,snake", ["--steps", 3]),
        ("neo,other", []),
        ("other,neo,snake", ["--projector", "low-rank", "--rank", 3]),
        ("neo,snake", ["--no-bypass"]),
        ("neo,snake", ["--base", "snake"]),
    ],
)
def test_a_set_is_written_and_accepts_its_models(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], models: str, more: list[object]
) -> None:
    out = tmp_path / "set"
    status, printed, err = call(capsys, "align", *arguments(folder, out, models), "--tokens", 900, *more)
    assert status == 0, err
    config = read_json(out / "config.json")
    names = models.split(",")
    base = "snake" if "--base" in more else names[0]
    assert (config["base"], list(config["components"]), config["text"]) == (base, names, ["text.txt"])
    assert 500 < config["tokens"] < 1100
    assert config["projector"].get("bypass", False) == ("--no-bypass" not in more)
    fits = config["fits"]
    assert len(fits) == 2 * (len(names) - 1)
    assert max(fit["r2_in"] for fit in fits) > 0.2, "streams of random models share at least the identity of the token"
    losses = config["mean_mixed_loss"]
    assert list(losses) == ["before", "aligned", *(["after 3 gradient steps"] if "--steps" in more else [])]
    assert all(f"{loss:.4f}" in printed for loss in losses.values())
    specs = SearchSpace(
        [str(folder / name) for name in names],
        stages=2,
        projector=config["projector"]["kind"],
        projector_options={key: value for key, value in config["projector"].items() if key != "kind"},
    )
    ProjectorSet.load(out).check([load(spec) for spec in specs.components], specs, base)
    donors = ", ".join(name for name in names if name != base)
    validated = f"{out}: a projector set of {donors} for the base model {base}, 2 stages\n"
    assert call(capsys, "validate", out)[:2] == (0, validated)
    assert (out / "README.md").read_text().startswith("# ")


def test_the_share_of_pairs_is_printed(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`the| |th|i|n|g| |i|n| |the| |r|i|n|g` and `t|h|e| |t|h|ing| |in| |t|h|e| |r|ing`: 11 of 16 ends coincide."""
    files = [tmp_path / f"{number}.txt" for number in range(24)]
    for file in files:
        file.write_text("the thing in the ring", encoding="utf-8")
    for pair, share in (("neo,other", {"other": 11 / 16}), ("neo,snake", {})):
        status, printed, err = call(capsys, "align", *arguments(folder, tmp_path / pair, pair), "--text", *files)
        assert status == 0, err
        pairs = "".join(f"; 69% of them pair with tokens of {name}" for name in share)
        assert f"fitted on 336 tokens{pairs}; measured on held-out text" in " ".join(printed.split())
        config = read_json(tmp_path / pair / "config.json")
        assert (config["tokens"], config["paired"]) == (336, share)


def test_a_manual_export_has_the_projectors_of_the_set(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(capsys, "align", *arguments(folder, tmp_path / "set"), "--projector", "low-rank", "--rank", 3)[0] == 0
    models = ["--models", f"{folder / 'neo'},{folder / 'snake'}"]
    rest = ["--projectors", tmp_path / "set", "--out", tmp_path / "hybrid"]
    error = refusal(capsys, "export", *models, "--path", "snake", *rest)
    assert "was fitted for 2 stages, not for 1; fit a set for 1 (manticore align --stages 1), or use 2 stages" in error
    assert "--projectors goes with --models" in refusal(capsys, "export", tmp_path / "set", *rest)
    assert not (tmp_path / "hybrid").exists()
    status, printed, err = call(capsys, "export", *models, "--path", "snake,neo", *rest)
    assert (status, "from set" in printed) == (0, True), err
    weights = load_file(tmp_path / "set" / "model.safetensors")
    exported = load_file(tmp_path / "hybrid" / "model.safetensors")
    for middle in ("proj_in.down", "proj_in.up", "proj_out.down", "proj_out.up", "bypass.down", "bypass.up"):
        key = f"{middle}.weight"
        assert torch.equal(exported[f"model.stages.0.{key}"], weights[f"stages.0.snake.{key}"])


def test_a_shipped_set_is_found_by_name(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "projectors").mkdir()
    real = assets.folder
    monkeypatch.setattr(assets, "folder", lambda kind: tmp_path / kind if kind == "projectors" else real(kind))
    assert call(capsys, "align", *arguments(folder, tmp_path / "projectors" / "tiny"))[0] == 0
    assert "  tiny  snake for the base model neo, 2 stages" in listing("projectors")
    assert '"base": "neo"' in call(capsys, "show", "tiny")[1]
    assert "a projector set of snake" in validate(Path("tiny"))
    assert call(capsys, "cp", "tiny", tmp_path / "mine")[0] == 0
    assert "a projector set of snake" in validate(tmp_path / "mine")
    (tmp_path / "mine" / "model.safetensors").write_bytes(b"no")
    assert "cannot be read as safetensors" in refusal(capsys, "validate", tmp_path / "mine")
    assert "config.json: cannot be read" in refusal(capsys, "validate", tmp_path)


INVALID = [
    (["--projector", "identity"], "'identity' has nothing to fit"),
    (["--projector", "two-layer"], "'two-layer' has no closed form"),
    (["--projector", "liner"], "projector 'liner'. Did you mean 'linear'?"),
    (["--rank", "4"], "projector 'linear' does not take the options {'rank': 4}"),
    (["--base", "snak"], "base component 'snak'. Did you mean 'snake'?"),
    (["--stages", "3"], "3 stages are more than the 2 layers of 'neo'"),
    (["--length", "65"], "a passage of 65 tokens exceeds the context length of 'neo' (64); use --length 64 or less"),
    (["--tokens", "0"], "must be a whole number of at least 1, got 0"),
    (["--text", "nowhere.txt"], "no such file or folder of text: nowhere.txt"),
]


@pytest.mark.parametrize(("more", "message"), INVALID, ids=[" ".join(more) for more, _ in INVALID])
def test_invalid_arguments_are_refused_in_one_line(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert message in refusal(capsys, "align", *arguments(folder, tmp_path / "out"), *more)
    assert list(tmp_path.iterdir()) == []


TEXTS = {
    "empty": (b"", "there is no text in it"),
    "blank": (b" \n\n", "there is no text in it"),
    "binary": (b"\x89PNG\r\n\x1a\n\xff\xfe", "not UTF-8 text (byte 0 cannot be read)"),
    "zeros": (b"abc\0def", "not text: a zero byte at character 3"),
    "short": (b"too few", "the text is too short to align on"),
}


@pytest.mark.parametrize(("content", "message"), TEXTS.values(), ids=TEXTS.keys())
def test_files_without_text_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    file = tmp_path / "input.txt"
    file.write_bytes(content)
    assert message in refusal(capsys, "align", *arguments(folder, tmp_path / "out"), "--text", file)
    assert list(tmp_path.iterdir()) == [file]


def test_documents_are_read_as_by_the_text_task(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (folder / "text.txt").read_text(encoding="utf-8")
    documents = [whole[: len(whole) // 3], whole[len(whole) // 3 :]]
    (tmp_path / "a.txt").write_text("\r\n<|endoftext|>\r\n".join(documents), encoding="utf-8-sig", newline="")
    lines = [json.dumps({"text": document.strip("\n")}) for document in documents]
    (tmp_path / "b.jsonl").write_text("\n".join(lines), encoding="utf-8")
    weights = []
    for file in ("a.txt", "b.jsonl"):
        out = tmp_path / f"from-{file}"
        assert call(capsys, "align", *arguments(folder, out), "--text", tmp_path / file)[0] == 0
        assert json.loads((out / "config.json").read_text())["text"] == [file]
        weights.append((out / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]
    (tmp_path / "notes.md").write_bytes((folder / "text.txt").read_bytes())
    assert call(capsys, "align", *arguments(folder, tmp_path / "out"), "--text", tmp_path / "notes.md")[0] == 0


def test_models_without_a_tokenizer_and_existing_folders_are_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "'mute' has no tokenizer" in refusal(capsys, "align", *arguments(folder, tmp_path / "out", "neo,mute"))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    assert "out exists; choose another folder" in refusal(capsys, "align", *arguments(folder, tmp_path / "out"))
    shutil.rmtree(tmp_path / "out")


def test_target_text_has_its_share_of_the_tokens(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "target.txt"
    target.write_text("a ring of the king is a thing of the spring and of the evening " * 60, encoding="utf-8")
    out = tmp_path / "set"
    more = ("--target-text", target, "--target-share", 0.4, "--tokens", 1500)
    status, printed, err = call(capsys, "align", *arguments(folder, out), *more)
    assert (status, err) == (0, "")
    config = read_json(out / "config.json")
    assert config["text"] == ["text.txt", "target.txt"]
    assert 1100 < config["tokens"] < 1700
    share = int(printed.partition("target text: ")[2].partition("%")[0])
    assert 35 <= share <= 45
    message = refusal(capsys, "align", *arguments(folder, tmp_path / "no"), "--target-text", tmp_path / "nothing.txt")
    assert "nothing.txt" in message
    assert not (tmp_path / "no").exists()
