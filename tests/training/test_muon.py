"""Muon: singular values of updates, resuming, and AdamW for all other parameters."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.optim import AdamW

from manticore.training.deferred_reads import step_unless
from manticore.training.muon import UPDATE_RMS, Muon, orthogonalized
from manticore.training.optimizers import cosine, weight_optimizer
from manticore.training.options import WeightOptions


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 32), (2, 32, 8)])
def test_singular_values_are_near_one(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    matrices = torch.randn(shape) * torch.tensor([1e-3, 1.0, 1e3])[: shape[0], None, None]
    singular_values = torch.linalg.svdvals(orthogonalized(matrices, 5))
    assert singular_values.min() > 0.3
    assert singular_values.max() < 1.3
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    nearest = u @ v
    similarity = (nearest * orthogonalized(matrices, 5)).sum((-2, -1)) / nearest.square().sum((-2, -1))
    assert (similarity > 0.7).all()


def model() -> nn.Module:
    torch.manual_seed(1)
    net = nn.Module()
    net.wte = nn.Embedding(11, 8)
    net.inner = nn.Linear(8, 24)
    net.outer = nn.Linear(24, 8, bias=False)
    net.head = nn.Linear(8, 11, bias=False)
    return net


def step(net: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    torch.manual_seed(seed)
    ids = torch.randint(11, (16,))
    hidden = torch.relu(net.inner(net.wte(ids)))
    loss = nn.functional.cross_entropy(net.head(net.outer(hidden)), (ids * 3 + 1) % 11)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def muon(net: nn.Module) -> torch.optim.Optimizer:
    return weight_optimizer(net.named_parameters(), WeightOptions(optimizer="muon", lr=0.01, weight_decay=0.1))


def test_only_hidden_matrices_are_orthogonalized() -> None:
    net = model()
    optimizer = muon(net)
    assert isinstance(optimizer, Muon)
    assert {id(p) for p in optimizer.param_groups[0]["params"]} == {id(net.inner.weight), id(net.outer.weight)}
    before = copy.deepcopy(net)
    step(net, optimizer, 2)
    moved = (net.outer.weight - before.outer.weight * (1 - 0.01 * 0.1)) / 0.01
    assert float(moved.detach().square().mean().sqrt()) == pytest.approx(UPDATE_RMS, rel=0.3)
    plain = copy.deepcopy(before)
    rest = [("wte", plain.wte.weight), ("head", plain.head.weight)]
    adam = AdamW([p for _, p in rest], lr=0.01, betas=(0.9, 0.98), weight_decay=0.1)
    step(plain, adam, 2)
    torch.testing.assert_close(net.wte.weight, plain.wte.weight)
    torch.testing.assert_close(net.head.weight, plain.head.weight)


def test_a_resumed_optimizer_gives_the_same_weights() -> None:
    whole, part = model(), model()
    uninterrupted, first = muon(whole), muon(part)
    schedules = [cosine(uninterrupted, 8, 0.1), cosine(first, 8, 0.1)]
    for index in range(8):
        step(whole, uninterrupted, index)
        schedules[0].step()
    for index in range(4):
        step(part, first, index)
        schedules[1].step()
    optimizer_state, schedule_state = copy.deepcopy(first.state_dict()), schedules[1].state_dict()
    second = muon(part)
    schedule = cosine(second, 8, 0.1)
    second.load_state_dict(optimizer_state)
    schedule.load_state_dict(schedule_state)
    for index in range(4, 8):
        step(part, second, index)
        schedule.step()
    for resumed, expected in zip(part.parameters(), whole.parameters(), strict=True):
        assert torch.equal(resumed, expected)


def test_the_iteration_is_in_single_precision_under_autocast() -> None:
    matrices = torch.randn(2, 6, 9, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        under_autocast = orthogonalized(matrices, 5)
    assert torch.equal(under_autocast, orthogonalized(matrices, 5))


def test_a_skipped_step_changes_no_parameter() -> None:
    parameters = [torch.nn.Parameter(torch.ones(shape)) for shape in ((4, 3), (5,))]
    groups = [[{"params": [parameter], "lr": 0.1, "weight_decay": 0.1}] for parameter in parameters]
    optimizer = Muon(groups[0], groups[1], (0.9, 0.999))
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, float("nan"))
    step_unless(torch.ones(()), optimizer, parameters)
    assert all(torch.equal(parameter, torch.ones_like(parameter)) for parameter in parameters)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    fresh = Muon([dict(groups[0][0])], [dict(groups[1][0])], (0.9, 0.999))
    step_unless(torch.zeros(()), fresh, parameters)
    assert all((parameter < 1).all() for parameter in parameters)
