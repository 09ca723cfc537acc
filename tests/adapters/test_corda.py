"""CorDA: the factors start from the directions of the inputs, and the change from 0."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from manticore.adapters.attach import attach, base_weight
from manticore.adapters.base import adapted_layers
from manticore.adapters.calibration import input_moments, prepare
from manticore.adapters.corda import CorDA, CorDAOptions
from manticore.adapters.options import AdapterOptions
from manticore.nas.discretize import discretize
from tests.adapters.test_attach import logits, step
from tests.adapters.test_commands import finetune
from tests.helpers.cli import PICO, call, refusal
from tests.helpers.pico import supernet, tokens


def inputs(rank: int = 12) -> Tensor:
    """Inputs (200, 12) of very different size in different directions."""
    torch.manual_seed(1)
    scales = torch.linspace(0, -3, rank).exp()
    return torch.randn(200, rank) * scales @ torch.linalg.qr(torch.randn(12, 12)).Q


def build(mode: str) -> tuple[CorDA, Tensor]:
    torch.manual_seed(0)
    W = torch.randn(8, 12)
    adapter = CorDA(W, CorDAOptions(rank=3, mode=mode))  # type: ignore[arg-type]
    x = inputs()
    adapter.prepare(W, x.T @ x / len(x))
    return adapter, W


def test_preview_takes_most_of_the_outputs_and_preserve_least() -> None:
    x = inputs()
    shares = {}
    for mode in ("preview", "preserve"):
        adapter, W = build(mode)
        assert not adapter.delta().any()
        assert not adapter(x).any()
        part = x @ (adapter.B0 @ adapter.A0).T
        shares[mode] = float(part.square().sum() / (x @ W.T).square().sum())
    truncated = torch.linalg.svd(W, full_matrices=False)
    plain = x @ ((truncated.U[:, :3] * truncated.S[:3]) @ truncated.Vh[:3]).T
    plain_share = float(plain.square().sum() / (x @ W.T).square().sum())
    assert shares["preview"] > max(0.8, plain_share)
    assert shares["preserve"] < 0.05


def test_all_directions_together_are_the_weight() -> None:
    torch.manual_seed(0)
    W, x = torch.randn(8, 12), inputs()
    adapter = CorDA(W, CorDAOptions(rank=8))
    adapter.prepare(W, x.T @ x / len(x))
    torch.testing.assert_close(adapter.B0 @ adapter.A0, W, atol=1e-3, rtol=0)


@pytest.mark.parametrize("family", ["gpt2", "mamba"])
def test_a_hybrid_starts_unchanged_learns_and_is_kept_as_lora(family: str) -> None:
    net = discretize(supernet("gpt_neo", family), ["base", "donor", "base"])
    before = logits(net).detach()
    attach(net, AdapterOptions("corda", options={"rank": 2}))
    ids, mask = tokens()
    notes = prepare(net, [{"input_ids": ids, "attention_mask": mask}])
    raw = "note: the inputs of these layers are not measured, and taken to be uncorrelated: dt_proj, out_proj, x_proj"
    assert family == "gpt2" or notes[0].startswith(raw[:70])
    assert torch.equal(logits(net), before)
    initial = {layer.name: layer.adapter.state_dict()["A0"].clone() for layer in adapted_layers(net)}
    step(net)
    for name, _, adapter in adapted_layers(net):
        assert adapter.delta().any(), name
        assert torch.equal(adapter.state_dict()["A0"], initial[name])
        torch.testing.assert_close(adapter.final().delta(), adapter.delta())


def test_moments_leave_padding_out() -> None:
    net = discretize(supernet("gpt_neo", "gpt2"), ["base", "donor", "base"])
    attach(net, AdapterOptions("corda", options={"rank": 2}))
    ids, _ = tokens()
    mask = torch.ones_like(ids)
    mask[:, -2:] = 0
    padded = input_moments(net, [{"input_ids": ids, "attention_mask": mask}])
    cut = input_moments(net, [{"input_ids": ids[:, :-2], "attention_mask": mask[:, :-2]}])
    name, module, _ = adapted_layers(net)[0]
    assert padded[name].shape == (base_weight(module).shape[1],) * 2
    torch.testing.assert_close(padded[name], cut[name], atol=1e-6, rtol=1e-4)


def test_a_finetuning_prepares_it_and_a_search_refuses_it(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path
) -> None:
    corda = ["--adapter", "corda", "--set", "adapter.options={rank: 2, mode: preview}"]
    status, out, err = call(capsys, *finetune(pico_run, tmp_path / "out", *corda, "--keep-adapter", steps=3))
    assert (status, err) == (0, "")
    assert "note: the inputs of these layers are not measured" in out or "x_proj" not in out
    assert (tmp_path / "out" / "hybrid" / "adapter" / "adapter_config.json").exists()
    assert call(capsys, "evaluate", tmp_path / "out", "--set", "task.test=20")[0] == 0
    message = refusal(capsys, "search", *PICO, *corda, "--out", tmp_path / "search")
    assert "use it with manticore finetune" in message
    assert not (tmp_path / "search").exists()
