"""Adapters on layers of every family: gradients everywhere, merging without a change, frozen components."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from manticore.adapters.attach import attach, detach, merge, merged, trained_parameters
from manticore.adapters.base import adapted_layers
from manticore.adapters.options import AdapterOptions
from manticore.errors import ManticoreError
from manticore.nas.discretize import discretize
from manticore.nas.searchable import named_weights
from manticore.tasks.task import HeadSpec
from tests.helpers.pico import VOCAB, component, supernet, tokens
from tests.helpers.reloading import run_plainly

FAMILIES = ("gpt_neo", "gpt2", "gpt_neox", "llama", "mamba", "mamba2")
KINDS = ("more", "lora")


def hybrid(family: str) -> PreTrainedModel:
    return discretize(supernet(family, "gpt2" if family != "gpt2" else "mamba"), ["base", "donor", "base"])


def options(kind: str, **more: object) -> AdapterOptions:
    sizes = {"more": {"blocks": 2, "rank": 2}, "lora": {"rank": 2}}
    return AdapterOptions(kind, options=sizes[kind], **more)  # type: ignore[arg-type]


def adapted(net: nn.Module, kind: str = "more", **more: object) -> nn.Module:
    torch.manual_seed(0)
    attach(net, options(kind, **more))
    return net


def logits(net: nn.Module) -> Tensor:
    ids, mask = tokens()
    out = net(input_ids=ids, attention_mask=mask)
    logits_BLV: Tensor = out if isinstance(out, Tensor) else out.logits  # of a supernet, and of a hybrid
    return logits_BLV


def step(net: nn.Module) -> None:
    """Two steps of descent, as in the first of which only one of two factors has a gradient."""
    ids, _ = tokens()
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=0.02)
    for _ in range(2):
        optimizer.zero_grad()
        out = logits(net)
        F.cross_entropy(out[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("plain", [False, True], ids=["kernels", "transformers"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_adapter_learns_and_merges(monkeypatch: pytest.MonkeyPatch, family: str, plain: bool, kind: str) -> None:
    if plain:
        run_plainly(monkeypatch)
    net = hybrid(family)
    before = logits(net).detach()
    state = deepcopy(net.state_dict())
    net = adapted(net, kind)
    assert torch.equal(logits(net), before)
    step(net)
    for name, _, adapter in adapted_layers(net):
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in adapter.parameters()), name
    after = logits(net).detach()
    assert not torch.allclose(after, before, atol=1e-3)
    copied = deepcopy(net)
    merge(net)
    torch.testing.assert_close(logits(net), after, atol=1e-5, rtol=0)
    assert set(net.state_dict()) == set(state)
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, state[name])}
    assert changed
    assert all(name.endswith(".weight") or "proj_" in name for name in changed)  # biases are frozen
    detach(copied)
    same = {name for name, value in copied.state_dict().items() if torch.equal(value, state[name])}
    assert all(name in same or "proj_" in name for name in state)


def test_weights_that_are_read_raw_are_parametrized_and_others_are_called() -> None:
    net = adapted(hybrid("mamba"))
    raw = {
        layer.name.rpartition(".")[2]
        for layer in adapted_layers(net)
        if type(layer.module) is not nn.Linear and not layer.module._forward_hooks
    }
    called = {layer.name.rpartition(".")[2] for layer in adapted_layers(net)} - raw
    assert raw == {"x_proj", "dt_proj", "out_proj"}
    assert called == {"in_proj", "c_attn", "c_proj", "c_fc"}


@pytest.mark.parametrize("family", ["gpt_neo", "mamba"])
def test_each_layer_alone_can_be_a_target(family: str) -> None:
    names = {layer.name.rpartition(".")[2] for layer in adapted_layers(adapted(hybrid(family)))}
    for target in sorted(names):
        net = adapted(hybrid(family), targets=(target,))
        assert {layer.name.rpartition(".")[2] for layer in adapted_layers(net)} == {target}
        ids, mask = tokens()
        net(input_ids=ids, attention_mask=mask, labels=ids).loss.backward()
        for name, _, adapter in adapted_layers(net):
            assert any(p.grad is not None and p.grad.any() for p in adapter.parameters()), name


def test_components_are_frozen_and_projectors_are_not() -> None:
    net = adapted(hybrid("gpt_neo"))
    assert trained_parameters(net) > 0
    names = {name for name, _ in named_weights(net)}
    assert all(".adapter." in name or ".proj_in." in name or ".proj_out." in name for name in names)
    assert any(".proj_in." in name for name in names)
    labelled = discretize(supernet("gpt_neo", "mamba", HeadSpec("classification", VOCAB, 3)), ["base", "donor", "base"])
    names = {name for name, _ in named_weights(adapted(labelled))}
    assert any(name.startswith("score.") for name in names)
    assert "model.embed.tokens.weight" in names
    assert not any(name.startswith(("model.norm", "model.positions")) for name in names)
    weights = {name for name, _ in named_weights(adapted(hybrid("gpt_neo"), freeze="targets"))}
    assert {"model.embed.tokens.weight", "model.norm.weight"} <= weights
    assert not any(name.endswith("q_proj.weight") for name in weights)


def test_a_path_of_a_supernet_has_its_adapters() -> None:
    net = supernet("gpt_neo", "mamba")
    adapted(net)
    step(net)
    path = discretize(net, ["base", "donor", "base"])
    ids, _ = tokens()
    with torch.no_grad():
        torch.testing.assert_close(path(ids).logits, net(ids, path=path.config.path), atol=1e-5, rtol=0)
        torch.testing.assert_close(merged(path)(ids).logits, path(ids).logits, atol=1e-5, rtol=0)
    alone = adapted(discretize(supernet("gpt_neo", "mamba"), path.config.path))
    assert [layer.name for layer in adapted_layers(path)] == [layer.name for layer in adapted_layers(alone)]
    frozen = {name for name, weight in path.named_parameters() if not weight.requires_grad}
    assert any(name.endswith("q_proj.weight") for name in frozen)
    assert "model.embed.tokens.weight" in frozen
    assert not any(".adapter." in name or ".proj_in." in name for name in frozen)


def test_a_model_of_transformers_alone_has_adapters_on_all_layers_but_its_head() -> None:
    model = component("gpt_neo").model
    names = {layer.name.rpartition(".")[2] for layer in adapted_layers(adapted(model))}
    assert names == {"q_proj", "k_proj", "v_proj", "out_proj", "c_fc", "c_proj"}


def test_merging_leaves_shared_memory_alone_and_happens_once() -> None:
    net = adapted(hybrid("gpt_neo"))
    weight = adapted_layers(net)[0].module.weight
    shared, before = weight.detach(), weight.detach().clone()
    step(net)
    merge(net)
    assert torch.equal(shared, before)
    with pytest.raises(ManticoreError, match="no adapters to merge: it never had any, or they are merged already"):
        merge(net)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (AdapterOptions("mroe"), "unknown adapter name 'mroe'. Did you mean 'more'"),
        (AdapterOptions("more", ("q_prj",)), r"unknown target of adapter.targets 'q_prj'. Did you mean 'q_proj'"),
        (AdapterOptions("more", ("q_proj",), {"blocks": 99}), "q_proj: adapter.options.blocks 99 is above 32"),
        (AdapterOptions("more", (), {"blocks": 99}), "adapter.options.blocks 99 is above 32"),
        (AdapterOptions("lora", (), {"rank": 99}), "adapter.options.rank 99 is above 32"),
    ],
)
def test_wrong_options_are_refused_before_anything_changes(wrong: AdapterOptions, message: str) -> None:
    net = hybrid("gpt_neo")
    with pytest.raises(ManticoreError, match=message):
        attach(net, wrong)
    assert not adapted_layers(net)
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_layers_that_are_too_small_are_named() -> None:
    net = hybrid("mamba")
    notes = attach(net, AdapterOptions("more", options={"blocks": 4, "rank": 4}))
    assert notes == ["note: these layers are too small for the adapter and stay as they are: dt_proj"]
    with pytest.raises(ManticoreError, match="has adapters already"):
        attach(net, AdapterOptions("more"))
