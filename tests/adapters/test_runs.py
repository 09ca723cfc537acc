"""Adapters in `search` and `pretrain`, by command: resumed runs are equal, and wrong uses are one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from manticore.cli import main
from manticore.components import load
from manticore.components.spec import ComponentSpec
from tests.adapters.test_commands import ADAPTER, LORA
from tests.helpers.cli import PICO, call, refusal
from tests.helpers.interrupted_runs import Killed, assert_same_runs, recorded
from tests.helpers.trained_tokenizers import sample

pytestmark = pytest.mark.e2e

FEW = ("task.train=400", "task.val=60", "task.test=60", "search.steps=8", "search.warmup_steps=3", "finetune.steps=4")
BASELINES = (
    "baselines.components=false",
    "baselines.uniform=false",
    "baselines.random=false",
    "run.checkpoint_every=2",
)
PRETRAIN = ("vocabulary=300", "length=32", "steps=6", "batch_size=4", "passage=1000", "held_out=0.1")
SIZE = ("size={width: 16, layers: 2, heads: 2, window_size: 8}", "run.device=cpu", "run.checkpoint_every=2")


def settings(*keys: str) -> list[str]:
    return [argument for key in keys for argument in ("--set", key)]


def search(out: Path, *more: object) -> list[str]:
    return ["search", *PICO, *settings(*FEW, *BASELINES), "--out", str(out), *map(str, more)]


@pytest.mark.usefixtures("cached")
def test_a_search_that_was_ended_is_resumed_with_the_same_adapter_only(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    with recorded(whole) as events:
        assert main(search(whole, *ADAPTER)) == 0
    for step in ("search step 5", "fine-tune step 3"):
        with pytest.raises(Killed), recorded(parts, events.names.index(step) + 1):
            main(search(parts, *ADAPTER))
        message = refusal(capsys, *search(parts, *LORA, "--resume"))
        assert "adapter.name was 'more' and is 'lora' now" in message
        assert "adapter" in refusal(capsys, *search(parts, "--resume"))
        assert main(search(parts, *ADAPTER, "--resume")) == 0
        assert_same_runs(parts, whole)
        for file in sorted(parts.rglob("*"), reverse=True):
            file.rmdir() if file.is_dir() else file.unlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--adapter", "mroe"], "unknown adapter name 'mroe'. Did you mean 'more'?"),
        (["--adapter", "more", "--set", "adapter.targets=[q_prj]"], "Did you mean 'q_proj'?"),
        (["--adapter", "more", "--set", "adapter.options.rank=0"], "adapter.options.rank must be a whole number of at"),
        (["--adapter", "more", "--set", "adapter.options.blocks=999"], "blocks 999 is above"),
        (["--adapter", "more", "--set", "adapter.options.ranks=2"], "adapter.options.ranks"),
    ],
)
def test_a_search_refuses_wrong_adapters(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, cached: Path, arguments: list[str], message: str
) -> None:
    assert message in refusal(capsys, *search(tmp_path / "out", *arguments))
    assert not (tmp_path / "out").exists()


def pretrain(text: Path, out: Path, *more: object) -> list[str]:
    keys = settings(*PRETRAIN, *SIZE)
    flags = ["--text", str(text), "--out", str(out)]
    return ["pretrain", "--config", "pretrain/gpt-neo-nano", *flags, *keys, *map(str, more)]


def test_a_pretraining_with_an_adapter_trains_a_model_whose_linear_layers_have_small_changes(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\n<|endoftext|>\n".join(sample()[:6]), encoding="utf-8")
    with recorded(tmp_path / "whole") as events:
        status, printed, err = call(capsys, *pretrain(text, tmp_path / "whole", *ADAPTER))
    assert status == 0, err
    assert "adapter: more on" in printed
    state = load_file(tmp_path / "whole" / "model" / "model.safetensors")
    assert not any(".adapter." in name for name in state)
    assert load(ComponentSpec(str(tmp_path / "whole" / "model"))).pretrained

    with pytest.raises(Killed), recorded(tmp_path / "parts", events.names.index("pretrain step 4") + 1):
        main(pretrain(text, tmp_path / "parts", *ADAPTER))
    message = refusal(capsys, *pretrain(text, tmp_path / "parts", *LORA, "--resume"))
    assert "adapter" in message
    assert "was 'more' and is 'lora' now" in message
    assert call(capsys, *pretrain(text, tmp_path / "parts", *ADAPTER, "--resume"))[0] == 0
    resumed = load_file(tmp_path / "parts" / "model" / "model.safetensors")
    assert all(torch.equal(weight, resumed[name]) for name, weight in state.items())
    record = json.loads((tmp_path / "parts" / "pretrain.json").read_text())
    assert record["recipe"]["adapter"]["name"] == "more"
    assert "use it with manticore finetune" in refusal(capsys, *pretrain(text, tmp_path / "no", "--adapter", "ladder"))
    assert not (tmp_path / "no").exists()
