"""Adapters in search, finetune and pretrain: merged or kept, resumed, and wrong uses, by command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from manticore.adapters.base import adapted_layers
from manticore.experiment.searched import open_finished, searched_supernet
from manticore.export.load import load_hybrid
from manticore.utils.console import make_console
from tests.helpers.cli import PICO, call, command, refusal
from tests.helpers.pico import tokens

pytestmark = pytest.mark.e2e

ADAPTER = ["--adapter", "more", "--set", "adapter.options={blocks: 2, rank: 2}"]
LORA = ["--adapter", "lora", "--set", "adapter.options.rank=2"]


def finetune(run: Path, out: Path, *more: str, steps: int = 8) -> list[str]:
    keys = ("run.device=cpu", "run.checkpoint_every=3")
    settings = [argument for key in keys for argument in ("--set", key)]
    return ["finetune", str(run), "--out", str(out), "--steps", str(steps), "--batch-size", "8", *settings, *more]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "hybrid" / "model.safetensors")


def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    assert set(before) == set(after)
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_a_finetuning_changes_linear_layers_of_components_and_new_parts_alone(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path
) -> None:
    status, out, _ = call(capsys, *finetune(pico_run, tmp_path / "out", *ADAPTER))
    assert status == 0
    assert "adapter: more on" in out
    names = changed(weights(pico_run), weights(tmp_path / "out"))
    inside = {name for name in names if ".segment." in name}
    assert inside
    assert all(name.endswith(".weight") and "conv1d" not in name and "norm" not in name for name in inside)
    assert not any(name.startswith(("model.norm", "model.positions")) for name in names)
    assert any(name.startswith("score.") for name in names)


def test_a_resumed_finetuning_has_the_same_weights_and_the_same_adapter_only(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts, whole = tmp_path / "parts", tmp_path / "whole"
    process = command(*finetune(pico_run, parts, *ADAPTER), cache=shared / "cache")
    while not (parts / "checkpoints" / "fine-tune.ckpt").exists():
        assert process.poll() is None
    process.kill()
    process.communicate()
    other = finetune(pico_run, parts, *LORA, "--resume")
    assert "adapter.name was 'more' and is 'lora' now" in refusal(capsys, *other)
    assert "adapter was {" in refusal(capsys, *finetune(pico_run, parts, "--resume"))
    status, _, err = call(capsys, *finetune(pico_run, parts, *ADAPTER, "--resume"))
    assert (status, err) == (0, "")
    assert call(capsys, *finetune(pico_run, whole, *ADAPTER))[0] == 0
    assert not changed(weights(parts), weights(whole))


PLAINLY = """
import sys, torch
sys.modules["manticore"] = None
from transformers import AutoModelForSequenceClassification
folder = sys.argv[1]
model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
ids, expected = torch.load(folder + "/../expected.pt")
if sys.argv[2] == "peft":
    import peft
    model = peft.PeftModel.from_pretrained(model, folder + "/adapter").eval()
else:
    sys.path.insert(0, folder + "/adapter")
    import adapter
    adapter.load(model)
with torch.no_grad():
    logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=0)
if sys.argv[2] != "peft":
    try:
        adapter.load(model)
    except ValueError as error:
        print(error)
"""


@pytest.mark.parametrize("kind", ["more", "lora"])
def test_a_kept_adapter_is_loaded_by_us_by_its_own_code_and_by_peft(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path, kind: str
) -> None:
    arguments = ADAPTER if kind == "more" else LORA
    assert call(capsys, *finetune(pico_run, tmp_path / "merged", *arguments))[0] == 0
    assert call(capsys, *finetune(pico_run, tmp_path / "kept", *arguments, "--keep-adapter"))[0] == 0
    names = changed(weights(pico_run), weights(tmp_path / "kept"))
    assert not any(".segment." in name for name in names)
    merged, kept = (load_hybrid(tmp_path / name) for name in ("merged", "kept"))
    ids, _ = tokens()
    mask = torch.ones_like(ids)
    ids %= kept.config.vocab_size
    with torch.no_grad():
        expected = merged(input_ids=ids, attention_mask=mask).logits
        torch.testing.assert_close(kept(input_ids=ids, attention_mask=mask).logits, expected, atol=1e-5, rtol=0)
    torch.save((ids, expected), tmp_path / "kept" / "expected.pt")
    folder = tmp_path / "kept" / "hybrid"
    assert (folder / "adapter" / "adapter_config.json").exists() == (kind == "lora")
    for loader in ["own"] if kind == "more" else ["own", "peft"]:
        process = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", PLAINLY, str(folder), loader], capture_output=True, text=True
        )
        assert process.returncode == 0, process.stderr[-2000:]
        assert loader == "peft" or "merged in them already" in process.stdout
    state = load_file(folder / "model.safetensors")
    name = next(iter(json.loads((folder / "adapter" / "adapter.json").read_text())["layers"])) + ".weight"
    state[name] += 1
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert "is an adapter for other weights" in refusal(capsys, "evaluate", tmp_path / "kept")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--adapter", "mroe"], "unknown adapter name 'mroe'. Did you mean 'more'?"),
        (["--adapter", "more", "--set", "adapter.targets=[q_prj]"], "Did you mean 'q_proj'?"),
        (["--adapter", "more", "--set", "adapter.options.rank=0"], "adapter.options.rank must be a whole number of at"),
        (["--adapter", "more", "--set", "adapter.options.blocks=999"], "blocks 999 is above"),
        (["--adapter", "lora", "--set", "adapter.options.blocks=2"], "adapter.options.blocks'"),
        (["--keep-adapter"], "--keep-adapter goes with --adapter"),
        (["--set", "adapter.targets=[q_proj]"], "adapter.targets goes with an adapter"),
    ],
)
def test_wrong_uses_are_one_line_and_nothing_is_written(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    assert message in refusal(capsys, *finetune(pico_run, tmp_path / "out", *arguments))
    assert not (tmp_path / "out").exists()


def test_a_search_trains_adapters_on_one_copy_of_frozen_components(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MANTICORE_CACHE", str(shared / "cache"))
    out = tmp_path / "run"
    few = [f"task.train={400}", "search.steps=8", "search.warmup_steps=3", "finetune.steps=4", "baselines.random=false"]
    settings = [argument for key in few for argument in ("--set", key)]
    status, text, err = call(capsys, "search", *PICO, *settings, *ADAPTER, "--out", out)
    assert (status, err) == (0, "")
    assert "adapter: more on" in text
    assert "start from random weights, which stay as they are" in text
    exp = open_finished(out, make_console(quiet=True))
    net = searched_supernet(exp, json.loads((out / "metrics.json").read_text())["base"])
    layers = adapted_layers(net)
    assert all(adapter.delta().any() for _, _, adapter in layers)
    for name, component in net.components.items():
        own = {parameter.data_ptr() for parameter in component.model.parameters()}
        frozen = [p for key, p in net.named_parameters() if f".{name}.segment." in key and ".adapter." not in key]
        assert frozen
        assert all(parameter.data_ptr() in own for parameter in frozen)
        assert not any(parameter.requires_grad for parameter in frozen)
    assert not adapted_layers(load_hybrid(out))
    assert not any(".adapter." in name for name in weights(out))
    again = call(capsys, "export", out, "--path", ",".join(load_hybrid(out).config.path), "--out", tmp_path / "again")
    assert again[0] == 0
    assert not changed(weights(out), load_file_of(tmp_path / "again"))


def load_file_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")
