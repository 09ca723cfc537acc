"""Ridge regression on streamed moments equals that on all rows at once."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from manticore.alignment.closed_forms import fit_ridge, load_affine
from manticore.alignment.ridge import Affine, Moments
from manticore.modeling.projectors import Linear, LowRank


def rows(count: int = 400, shift: float = 3.0, noise: float = 0.5, seed: int = 0) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    x = torch.randn(count, 7, dtype=torch.float64) * torch.logspace(-1, 1, 7) + shift
    torch.manual_seed(99)
    weight = torch.randn(5, 7, dtype=torch.float64)
    torch.manual_seed(seed + 1)
    return x, x @ weight.T + 2 + noise * torch.randn(count, 5, dtype=torch.float64)


def streamed(x: Tensor, y: Tensor, size: int = 37) -> Moments:
    moments = Moments(x.shape[1], y.shape[1])
    for x_batch, y_batch in zip(x.split(size), y.split(size), strict=True):
        moments.add(x_batch, y_batch)
    return moments


@pytest.mark.parametrize("shift", [0.0, 3.0, 1e5])
def test_without_damping_it_is_least_squares_with_intercept(shift: float) -> None:
    x, y = rows(shift=shift)
    fit = streamed(x, y).solve(0.0)
    centred = torch.linalg.lstsq(x - x.mean(0), y - y.mean(0)).solution.T
    torch.testing.assert_close(fit.weight_ED, centred, rtol=1e-8, atol=1e-8)
    if shift < 10:
        whole = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1), y).solution.T
        torch.testing.assert_close(torch.cat([fit.weight_ED, fit.bias_E[:, None]], 1), whole)


def test_damping_penalizes_weights_and_not_the_intercept() -> None:
    x, y = rows()
    penalty = 0.3 * (x - x.mean(0)).square().sum(0).mean()
    stacked = torch.cat([x - x.mean(0), penalty.sqrt() * torch.eye(7, dtype=x.dtype)])
    expected = torch.linalg.lstsq(stacked, torch.cat([y - y.mean(0), torch.zeros(7, 5, dtype=x.dtype)])).solution.T
    fit = streamed(x, y).solve(0.3)
    torch.testing.assert_close(fit.weight_ED, expected)
    torch.testing.assert_close(fit.weight_ED @ x.mean(0) + fit.bias_E, y.mean(0))


def test_the_batch_size_does_not_matter() -> None:
    x, y = rows()
    for size in (1, 13, 400):
        torch.testing.assert_close(streamed(x, y, size).solve(1e-3).weight_ED, streamed(x, y).solve(1e-3).weight_ED)


def test_constant_features_get_weight_zero() -> None:
    x, y = rows()
    x = torch.cat([x, torch.full((len(x), 2), 4.0, dtype=x.dtype)], 1)
    for damping in (0.0, 1e-3):
        fit = streamed(x, y).solve(damping)
        torch.testing.assert_close(fit.weight_ED[:, 7:], torch.zeros(5, 2, dtype=x.dtype), atol=1e-9, rtol=0)
        assert fit.weight_ED.isfinite().all()


def test_errors_and_norms_are_those_of_the_rows() -> None:
    x, y = rows()
    moments = streamed(x, y)
    fit = Affine(torch.randn(5, 7, dtype=x.dtype), torch.randn(5, dtype=x.dtype))
    outputs = x @ fit.weight_ED.T + fit.bias_E
    error = (y - outputs).square().sum() / (y - y.mean(0)).square().sum()
    assert moments.unexplained(fit) == pytest.approx(float(error))
    assert moments.target_rms() == pytest.approx(float(y.square().sum(1).mean().sqrt()))
    assert moments.prediction_rms(fit) == pytest.approx(float(outputs.square().sum(1).mean().sqrt()))


def test_truncation_is_the_best_map_of_its_rank() -> None:
    x, y = rows()
    moments = streamed(x, y)
    whole = moments.solve(0.0)
    fitted = (x - x.mean(0)) @ whole.weight_ED.T
    left, sizes, right = torch.linalg.svd(fitted, full_matrices=False)
    for rank in (1, 2, 5):
        cut = moments.truncate(whole, rank)
        expected = left[:, :rank] * sizes[:rank] @ right[:rank]
        torch.testing.assert_close((x - x.mean(0)) @ cut.weight_ED.T, expected)
        assert torch.linalg.matrix_rank(cut.weight_ED) == rank


def test_damping_is_chosen_on_validation_rows() -> None:
    few, many = rows(12, noise=8.0, seed=3), rows(4000, noise=8.0, seed=7)
    train, val = streamed(*few), streamed(*many)
    choice = fit_ridge(Linear(7, 5), train, val)
    assert choice.damping > 0
    errors = [val.unexplained(train.solve(damping)) for damping in (0.0, choice.damping)]
    assert 1 - choice.r2 == pytest.approx(errors[1])
    assert errors[1] < errors[0]


@pytest.mark.parametrize("projector", [Linear(7, 5), LowRank(7, 5, rank=2)])
def test_the_loaded_projector_computes_the_fitted_map(projector: torch.nn.Module) -> None:
    x, y = rows()
    choice = fit_ridge(projector, streamed(x, y), streamed(*rows(seed=5)))
    load_affine(projector, choice.affine)
    outputs = projector(x.float()).double()
    torch.testing.assert_close(outputs, x @ choice.affine.weight_ED.T + choice.affine.bias_E, atol=1e-4, rtol=1e-4)
    assert 0.1 < choice.r2 < 1
