"""Learning rates that decay with depth, and layers that are not trained."""

from __future__ import annotations

import pytest
from torch import nn

from manticore.adapters.attach import attach
from manticore.adapters.options import AdapterOptions
from manticore.nas.discretize import discretize
from manticore.nas.searchable import named_weights
from manticore.training.depth import depth_scales, parameter_depths
from manticore.training.modules import TrainModule
from tests.helpers.pico import component, supernet, tokens

PATH = ["base", "donor", "base"]  # 1 layer of 4, 1 of 5, 2 of 4 with the boundaries of three stages


def hybrid() -> nn.Module:
    return discretize(supernet("gpt_neo", "mamba"), PATH)


def test_layers_are_counted_along_the_path() -> None:
    net = hybrid()
    sizes = [
        len(getattr(stage.segment.backbone, "h", ()) or stage.segment.backbone.layers) for stage in net.model.stages
    ]
    depths = parameter_depths(net)
    assert {count for _, count in depths.values()} == {sum(sizes)}
    assert depths["model.embed.tokens.weight"][0] == -1
    assert depths["model.norm.weight"][0] == sum(sizes) - 1
    assert depths["model.stages.0.segment.backbone.h.0.ln_1.weight"][0] == 0
    assert depths["model.stages.1.segment.backbone.layers.0.norm.weight"][0] == sizes[0]
    assert depths["model.stages.1.proj_in.weight"][0] == sizes[0]
    last = f"model.stages.2.segment.backbone.h.{sizes[2] - 1}.ln_1.weight"
    assert depths[last][0] == sum(sizes) - 1
    plain = parameter_depths(component("gpt_neo").model)
    assert plain["transformer.h.3.ln_1.weight"] == (3, 4)
    assert plain["transformer.wte.weight"] == (-1, 4)


def test_layers_of_a_supernet_are_those_of_their_component() -> None:
    net = supernet("gpt_neo", "mamba")
    depths = parameter_depths(net)
    first = net.layer_boundaries["donor"][2]
    assert depths["stages.2.donor.segment.backbone.layers.0.norm.weight"] == (first, 5)
    assert depths["stages.0.base.segment.backbone.h.0.ln_1.weight"] == (0, 4)


def test_rates_decay_from_the_last_layer_to_the_embedding() -> None:
    net = hybrid()
    module = TrainModule(net, {"lr": 0.1, "depth_lr_decay": 0.5}, 4)
    (optimizer,), _ = module.configure_optimizers()
    rates = {id(parameter): group["initial_lr"] for group in optimizer.param_groups for parameter in group["params"]}
    named = dict(net.named_parameters())
    count = parameter_depths(net)["model.norm.weight"][1]
    assert rates[id(named["model.norm.weight"])] == pytest.approx(0.1)
    assert rates[id(named["model.stages.0.segment.backbone.h.0.ln_1.weight"])] == pytest.approx(
        0.1 * 0.5 ** (count - 1)
    )
    assert rates[id(named["model.embed.tokens.weight"])] == pytest.approx(0.1 * 0.5**count)
    assert depth_scales(net, 1.0) == dict.fromkeys(named, 1.0)


def test_the_first_layers_are_not_trained() -> None:
    net = hybrid()
    TrainModule(net, {"freeze_depth": 0.5}, 4)
    trained, depths = {name for name, _ in named_weights(net)}, parameter_depths(net)
    for name, (depth, count) in depths.items():
        assert (name in trained) == (depth >= count / 2 or ".proj_" in name), name
    assert "model.embed.tokens.weight" not in trained


def test_adapters_of_layers_that_are_not_trained_need_no_gradient() -> None:
    net = hybrid()
    attach(net, AdapterOptions("more", options={"blocks": 2, "rank": 2}))
    module = TrainModule(net, {"freeze_depth": 0.5}, 4)
    module.gradient_check.start()
    net(input_ids=tokens()[0]).logits.square().mean().backward()
    module.gradient_check.check()
    assert not module.gradient_check._pending
