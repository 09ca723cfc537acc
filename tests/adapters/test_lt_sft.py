"""LT-SFT: the entries that moved most are trained again from the initial weights, and changes add up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from manticore.adapters.attach import attach
from manticore.adapters.base import adapted_layers
from manticore.adapters.lt_sft import LTSFT, LTSFTOptions
from manticore.adapters.options import AdapterOptions
from manticore.adapters.sparse import Sparse
from manticore.nas.discretize import discretize
from manticore.nas.searchable import named_weights
from manticore.training.modules import FinetuneModule
from tests.adapters.test_commands import finetune, weights
from tests.adapters.test_gradient_check import fit
from tests.helpers.cli import call, refusal
from tests.helpers.pico import supernet

LT_SFT = ["--adapter", "lt-sft", "--keep-adapter", "--set", "adapter.freeze=all"]


def build() -> LTSFT:
    torch.manual_seed(0)
    return LTSFT(torch.randn(6, 16), LTSFTOptions(share=0.25, select_at=0.5))


def test_the_largest_changes_are_trained_again_from_the_initial_weights() -> None:
    adapter = build()
    nn.init.normal_(adapter.values)
    largest = set(adapter.values.abs().flatten().topk(24).indices.tolist())
    assert adapter.trained == 24
    assert not adapter.refresh(0.4)
    assert adapter.delta().all()
    assert adapter.refresh(0.5)
    assert not adapter.delta().any()
    adapter.delta().sum().backward()
    assert adapter.values.grad is not None
    assert set(adapter.values.grad.flatten().nonzero().flatten().tolist()) == largest
    assert not adapter.refresh(0.6)


def test_the_kept_change_has_the_selected_entries_alone() -> None:
    adapter = build()
    nn.init.normal_(adapter.values)
    adapter.refresh(1.0)
    nn.init.normal_(adapter.values)
    kept = adapter.final()
    assert isinstance(kept, Sparse)
    assert kept.values.numel() == 24
    assert torch.equal(kept.delta(), adapter.delta())


@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
def test_a_training_drops_the_state_of_the_optimizer_at_the_selection(monkeypatch: pytest.MonkeyPatch) -> None:
    net = discretize(supernet("gpt_neo", "mamba"), ["base", "donor", "base"])
    attach(net, AdapterOptions("lt-sft", options={"share": 0.1, "select_at": 0.5}, freeze="all"))
    assert all(".adapter." in name for name, _ in named_weights(net))
    steps: list[int] = []

    def after(module: FinetuneModule) -> None:
        state: dict[Any, Any] = module.weight_optimizer.state
        steps.append(int(max((float(entry["step"]) for entry in state.values()), default=0)))

    finish = FinetuneModule.finish_step
    monkeypatch.setattr(FinetuneModule, "finish_step", lambda module: (finish(module), after(module)))
    fit(net, steps=4)
    assert steps == [1, 0, 1, 2]
    for name, _, adapter in adapted_layers(net):
        assert 0 < int((adapter.delta() != 0).sum()) <= adapter.trained, name


def test_the_changes_of_two_trainings_add_up(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path
) -> None:
    for seed in (1, 2):
        status, _, err = call(capsys, *finetune(pico_run, tmp_path / f"{seed}", *LT_SFT, "--seed", str(seed)))
        assert (status, err) == (0, "")
    base, out = weights(pico_run), tmp_path / "both"
    adapters = [tmp_path / "1", tmp_path / "2" / "hybrid" / "adapter"]
    status, text, err = call(capsys, "export", pico_run, "--adapters", *adapters, "--out", out)
    assert (status, err) == (0, "")
    both = load_file(out / "model.safetensors")
    single = []
    for seed in (1, 2):
        assert call(capsys, "export", pico_run, "--adapters", tmp_path / f"{seed}", "--out", tmp_path / f"one{seed}")
        single.append(load_file(tmp_path / f"one{seed}" / "model.safetensors"))
    moved = 0
    for name, weight in base.items():
        expected = single[0][name] + single[1][name] - weight
        torch.testing.assert_close(both[name], expected, atol=1e-6, rtol=0)
        moved += not torch.equal(single[0][name], single[1][name])
    assert moved
    own = call(capsys, "export", tmp_path / "1", "--adapters", tmp_path / "2", "--out", tmp_path / "own")
    assert own[0] == 0
    assert all(
        torch.equal(weight, both[name]) for name, weight in load_file(tmp_path / "own/model.safetensors").items()
    )
    assert "with the changes of" in text
    assert "2 adapters, added up" in (out / "README.md").read_text()


def test_adapters_of_trainings_that_changed_other_weights_are_refused(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path
) -> None:
    arguments = [argument for argument in LT_SFT if argument != "adapter.freeze=all"][:-1]
    assert call(capsys, *finetune(pico_run, tmp_path / "a", *arguments, steps=2))[0] == 0
    out = tmp_path / "out"
    message = refusal(capsys, "export", pico_run, "--adapters", tmp_path / "a", "--out", out)
    assert "train each from the same hybrid with --set adapter.freeze=all" in message
    assert "has no adapter" in refusal(capsys, "export", pico_run, "--adapters", pico_run, "--out", out)
    message = refusal(capsys, "export", "--models", "gpt-neo", "--adapters", pico_run, "--out", out)
    assert "--adapters changes the hybrid in a folder" in message
    assert not out.exists()
