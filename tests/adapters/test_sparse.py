"""NeuroAda, S2FT, SaRA and sparse changes: a step is that of full training at the entries of their rule."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from manticore.adapters.attach import attach
from manticore.adapters.base import Adapter, adapted_layers, adapter_options, adapters
from manticore.adapters.neuroada import NeuroAda, NeuroAdaOptions
from manticore.adapters.options import AdapterOptions
from manticore.adapters.s2ft import S2FT, S2FTOptions
from manticore.adapters.sara import SaRA, SaRAOptions
from manticore.errors import ManticoreError
from manticore.export.adapter_folder import loader_source
from manticore.nas.discretize import discretize
from tests.adapters.test_attach import logits, step
from tests.helpers.pico import supernet

OPTIONS: dict[str, dict[str, Any]] = {
    "neuroada": {"k": 3},
    "s2ft": {"share": 0.25, "group": 2},
    "sara": {"share": 0.2},
    "sparse": {"share": 0.2},
}


def weight() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(6, 16, dtype=torch.float64)


def build(kind: str) -> Adapter:
    return adapters[kind](weight(), adapter_options(kind, OPTIONS[kind]))


@pytest.mark.parametrize("kind", OPTIONS)
def test_a_step_is_that_of_full_training_at_the_entries(kind: str) -> None:
    adapter, W = build(kind), weight().requires_grad_()
    x, y = torch.randn(9, 16, dtype=torch.float64), torch.randn(9, 6, dtype=torch.float64)
    (x @ W.T - y).square().mean().backward()
    assert not adapter.delta().any()
    (x @ W.detach().T + adapter(x) - y).square().mean().backward()
    parameters = list(adapter.parameters())
    torch.optim.SGD(parameters, lr=0.1).step()
    delta = adapter.delta().detach()
    assert W.grad is not None
    entries = delta != 0
    assert int(entries.sum()) == adapter.trained
    torch.testing.assert_close(delta[entries], -0.1 * W.grad[entries])
    torch.testing.assert_close(adapter(x), x @ delta.T)


@pytest.mark.parametrize("kind", OPTIONS)
def test_the_copied_loader_computes_the_same_change(kind: str) -> None:
    adapter = build(kind)
    nn.init.normal_(next(adapter.parameters()))
    numbers = {key: value for key, value in vars(adapter).items() if isinstance(value, int | float)}
    namespace: dict[str, Any] = {"__name__": "adapter"}
    exec(compile(loader_source(type(adapter)), "adapter.py", "exec"), namespace)
    assert torch.equal(namespace["delta"](SimpleNamespace(**numbers, **adapter.state_dict())), adapter.delta())


def test_the_entries_are_the_largest_of_rows_some_channels_and_the_smallest() -> None:
    size = weight().abs()
    largest = NeuroAda(weight(), NeuroAdaOptions(2))
    assert all(set(row.tolist()) == set(size[i].topk(2).indices.tolist()) for i, row in enumerate(largest.index))
    channels = S2FT(weight(), S2FTOptions(0.25, group=2)).index.reshape(-1, 2)
    assert channels.shape == (2, 2)
    assert all(first % 2 == 0 and second == first + 1 for first, second in channels.tolist())
    smallest = SaRA(weight(), SaRAOptions(0.25))
    assert len(smallest.index) == 24
    assert size.flatten()[smallest.index].max() == size.flatten().sort().values[23] == smallest.threshold


def test_sara_keeps_what_has_grown_above_the_threshold_and_penalizes_the_nuclear_norm() -> None:
    adapter = SaRA(weight(), SaRAOptions(0.25, nuclear_weight=0.5))
    with torch.no_grad():
        adapter.values[0] = 10.0
    penalty = adapter.penalty()
    assert penalty is not None
    assert float(penalty.detach()) == pytest.approx(5.0)
    adapter.refresh(0.4)
    assert adapter.active.all()
    adapter.refresh(0.5)
    assert not adapter.active[0]
    assert adapter.active[1:].all()
    adapter.delta().sum().backward()
    assert adapter.values.grad is not None
    assert float(adapter.values.grad[0]) == 0
    assert float(adapter.delta().detach().sum()) == pytest.approx(10.0)


@pytest.mark.parametrize("family", ["gpt2", "mamba", "mamba2"])
@pytest.mark.parametrize("kind", OPTIONS)
def test_all_adapters_of_a_hybrid_learn(kind: str, family: str) -> None:
    net = discretize(supernet(family, "gpt_neo"), ["base", "donor", "base"])
    before = logits(net).detach()
    attach(net, AdapterOptions(kind, options={} if kind == "neuroada" else OPTIONS[kind]))
    assert torch.equal(logits(net), before)
    step(net)
    layers = adapted_layers(net)
    assert all(adapter.delta().any() for _, _, adapter in layers)
    if kind == "s2ft":
        names = {layer.name.rpartition(".")[2] for layer in layers}
        assert names == ({"c_proj", "out_proj"})


def test_wrong_options_are_refused() -> None:
    with pytest.raises(ManticoreError, match=r"adapter.options.k 17 is above 16"):
        NeuroAda.check(6, 16, NeuroAdaOptions(17))
    with pytest.raises(ManticoreError, match="share must be a number above 0 and at most 1, got 2"):
        adapter_options("s2ft", {"share": 2})
