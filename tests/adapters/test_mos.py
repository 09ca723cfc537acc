"""MoS: pools that layers of both families share, as many parameters as LoRA, and an export as LoRA."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path

import pytest
import torch

from manticore.adapters.attach import attach, merge, trained_parameters
from manticore.adapters.base import adapted_layers, adapter_options
from manticore.adapters.gradient_check import GradientCheck
from manticore.adapters.lora import LoRA
from manticore.adapters.mos import MoS
from manticore.adapters.options import AdapterOptions
from manticore.errors import ManticoreError
from manticore.nas.cost import parameters
from manticore.nas.discretize import discretize
from tests.adapters.test_attach import logits, step
from tests.adapters.test_commands import finetune
from tests.adapters.test_gradient_check import bypass
from tests.helpers.cli import call
from tests.helpers.pico import supernet, tokens

MOS = AdapterOptions("mos", options={"rank": 6, "budget": 3, "private": 1, "shard": 8})
PATH = ["base", "donor", "base"]


@pytest.mark.parametrize("family", ["gpt2", "mamba"])
def test_layers_of_both_families_share_two_pools_and_learn(family: str) -> None:
    net = discretize(supernet("gpt_neo", family), PATH)
    before, size = logits(net).detach(), parameters(net)
    attach(net, MOS)
    assert torch.equal(logits(net), before)
    layers = [layer.adapter for layer in adapted_layers(net)]
    assert all(isinstance(layer, MoS) for layer in layers)
    assert len({id(layer.shared[0]) for layer in layers}) == 1
    names = {layer.name.split(".")[2] for layer in adapted_layers(net)}
    assert names == {"0", "1", "2"}
    assert parameters(net) == size
    step(net)
    after = logits(net).detach()
    assert all(layer.delta().any() for layer in layers)
    ranks = [int(torch.linalg.matrix_rank(layer.delta())) for layer in layers]
    assert max(ranks) == 6
    merge(net)
    torch.testing.assert_close(logits(net), after, atol=1e-5, rtol=0)


def test_the_parameters_are_those_of_lora_of_the_budget() -> None:
    net = discretize(supernet("gpt_neo", "gpt2"), PATH)  # all sides are multiples of the shard
    attach(net, MOS)
    expected = sum(3 * (layer.adapter.rows + layer.adapter.columns) for layer in adapted_layers(net))
    assert trained_parameters(net) == expected
    assert expected == sum(p.numel() for name, p in net.named_parameters() if ".adapter." in name)


def test_a_path_of_a_supernet_shares_copies_of_the_pools() -> None:
    net = supernet("gpt_neo", "mamba")
    attach(net, MOS)
    step(net)
    path = discretize(net, PATH)
    ids, _ = tokens()
    with torch.no_grad():
        torch.testing.assert_close(path(ids).logits, net(ids, path=path.config.path), atol=1e-5, rtol=0)
    pools = {id(layer.adapter.shared[1]) for layer in adapted_layers(path)}
    assert len(pools) == 1
    assert pools.isdisjoint(id(layer.adapter.shared[1]) for layer in adapted_layers(net))
    assert len({id(layer.adapter.shared[1]) for layer in adapted_layers(deepcopy(path))}) == 1


def test_a_layer_without_gradient_is_named_although_its_pools_have_one() -> None:
    net = discretize(supernet("gpt_neo", "mamba"), PATH)
    attach(net, MOS)
    name = bypass(net)
    check = GradientCheck(net)
    check.start()
    ids, mask = tokens()
    net(input_ids=ids, attention_mask=mask, labels=ids).loss.backward()
    with pytest.raises(ManticoreError, match=f"1 of [0-9]+ adapters have no gradient after the first step, {name}"):
        check.check()


def test_the_kept_change_is_lora() -> None:
    net = discretize(supernet("gpt_neo", "mamba"), PATH)
    attach(net, MOS)
    step(net)
    for layer in adapted_layers(net):
        kept = layer.adapter.final()
        assert isinstance(kept, LoRA)
        torch.testing.assert_close(kept.delta(), layer.adapter.delta())


def test_a_kept_adapter_is_in_the_form_of_peft(
    capsys: pytest.CaptureFixture[str], pico_run: Path, tmp_path: Path
) -> None:
    options = ["--adapter", "mos", "--set", "adapter.options={rank: 4, budget: 2, shard: 8}", "--keep-adapter"]
    status, _, err = call(capsys, *finetune(pico_run, tmp_path / "out", *options, steps=3))
    assert (status, err) == (0, "")
    config = json.loads((tmp_path / "out" / "hybrid" / "adapter" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"]) == ("LORA", 4)
    assert call(capsys, "evaluate", tmp_path / "out", "--set", "task.test=20")[0] == 0


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ManticoreError, match="private < budget <= rank, got 2, 2 and 8"):
        adapter_options("mos", {"private": 2, "budget": 2})
