"""Learning-rate schedules, weight decay, and parameter groups."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from manticore.nas.discretize import discretize
from manticore.nas.options import AlphaOptions
from manticore.nas.strategies.base import Strategy
from manticore.training.optimizers import cosine, donor_parameter_names, weight_optimizer
from manticore.training.options import WeightOptions
from tests.helpers import search_module as bench
from tests.helpers.pico import component


def rates(options: WeightOptions, steps: int) -> list[float]:
    optimizer = weight_optimizer([("w", nn.Parameter(torch.zeros(2, 2)))], options)
    schedule = cosine(optimizer, steps, options.min_lr_ratio, options.warmup_steps)
    out = []
    for _ in range(steps + 1):
        out.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return out


def test_linear_warm_up_then_half_a_cosine() -> None:
    schedule = rates(WeightOptions(lr=1.0, warmup_steps=4, min_lr_ratio=0.1), 20)
    assert schedule[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert schedule[12] == pytest.approx(0.55)  # half way down
    assert schedule[20] == pytest.approx(0.1)
    assert schedule[4:] == sorted(schedule[4:], reverse=True)


@pytest.mark.parametrize("options", [WeightOptions(warmup_steps=0), WeightOptions(warmup_steps=50)])
def test_short_runs_and_runs_without_warm_up(options: WeightOptions) -> None:
    assert all(0 < rate <= options.lr for rate in rates(options, 3))


def test_norms_biases_and_recurrent_constants_have_no_weight_decay() -> None:
    model = component("mamba").model
    named = dict(model.named_parameters())
    decayed, kept = weight_optimizer(named.items(), WeightOptions(weight_decay=0.5)).param_groups
    names = {id(parameter): name for name, parameter in named.items()}
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.5, 0.0)
    assert all(p.ndim >= 2 and not names[id(p)].endswith("A_log") for p in decayed["params"])
    assert any(names[id(p)].endswith("A_log") for p in kept["params"])
    assert len(decayed["params"]) + len(kept["params"]) == len(named)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_embeddings_heads_and_donor_layers_have_their_own_rates(optimizer: str) -> None:
    supernet = bench.net()
    net = discretize(supernet, supernet.candidates, num_labels=bench.LABELS)
    options = WeightOptions(optimizer=optimizer, lr=0.01, embedding_lr_scale=0.25, donor_lr_scale=2.0)
    donor = donor_parameter_names(net)
    groups = weight_optimizer(net.named_parameters(), options, donor).param_groups
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert len(rate) == len(list(net.parameters()))
    for name, parameter in net.named_parameters():
        outer = name.startswith(("model.embed", "model.positions", "score"))
        expected = 0.0025 if outer else 0.02 if "stages.1.segment" in name else 0.01
        assert rate[id(parameter)] == expected, name
    assert donor == {name for name, _ in net.named_parameters() if "stages.1.segment" in name}
    assert groups[0]["lr"] == 0.01  # the rate that is logged


def test_a_component_name_that_contains_head_is_no_head() -> None:
    net = nn.Module()
    net.stages = nn.ModuleList([nn.ModuleDict({"headless": nn.ModuleDict({"segment": nn.Linear(2, 2, bias=False)})})])
    (group,) = weight_optimizer(net.named_parameters(), WeightOptions(lr=1.0, embedding_lr_scale=0.5)).param_groups
    assert group["lr"] == 1.0


def test_alphas_have_their_own_optimizer_without_weight_decay() -> None:
    alphas = [nn.Parameter(torch.zeros(2, 2))]
    (group,) = Strategy().alpha_optimizer(alphas, AlphaOptions(lr=0.07, beta1=0.4)).param_groups
    assert (group["lr"], group["betas"], group["weight_decay"]) == (0.07, (0.4, 0.999), 0.0)
