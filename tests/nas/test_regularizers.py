"""Regularizers: their values and slopes at weights where these are known."""

from __future__ import annotations

import pytest
import torch

from manticore.nas.regularizers import polarization, regularizers


@pytest.mark.parametrize("name", ["entropy", "polarization"])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_a_penalty_is_one_at_uniform_and_zero_at_one_hot(name: str, count: int) -> None:
    penalty = regularizers[name](2.0, "uniform")
    uniform, one_hot = torch.full((3, count), 1 / count), torch.eye(count)[:2]
    assert penalty(uniform, 0.5).item() == pytest.approx(2.0 * 0.5 * 3)
    assert penalty(one_hot, 1.0).item() == pytest.approx(0.0, abs=1e-6)
    stagewise = regularizers[name](1.0, "stagewise")
    assert stagewise(uniform, 0.5).item() == pytest.approx(1.5), "the first stage wholly, the second by half"


def test_polarization_of_two_is_the_distance_from_the_mean() -> None:
    weights_SK = torch.tensor([[0.7, 0.3], [0.5, 0.5], [0.02, 0.98]])
    torch.testing.assert_close(polarization(weights_SK), 1 - (weights_SK - 0.5).abs().sum(-1))


def test_every_pair_is_pushed_apart_with_the_same_strength() -> None:
    weights_SK = torch.tensor([[0.45, 0.35, 0.15, 0.05]], requires_grad=True)
    (slope,) = torch.autograd.grad(polarization(weights_SK).sum(), weights_SK)
    torch.testing.assert_close(slope, torch.tensor([[-3.0, -1.0, 1.0, 3.0]]) / 3)
    # Descent on the alphas ends at the largest weight.
    alpha = weights_SK.detach().log().requires_grad_()
    for _ in range(300):
        (slope,) = torch.autograd.grad(regularizers["polarization"](1.0, "uniform")(alpha.softmax(-1), 1.0), alpha)
        alpha = (alpha - slope).detach().requires_grad_()
    assert alpha.softmax(-1)[0, 0].item() > 0.95
