"""The signs of a collapse, on a Hessian and on weights that are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from manticore.nas import collapse
from manticore.nas.collapse import collapse_warnings, concentration, growth, is_check, largest_eigenvalue
from manticore.report.run.reading import read_alphas
from manticore.training.callbacks import AlphaRecord
from tests.helpers.search_module import STEPS, batch, module, train


@pytest.mark.parametrize("eigenvalues", [[3.0, 1.0, 0.5, 0.0], [1.0, -4.0, 2.0, 0.1]])
def test_the_largest_eigenvalue_of_a_quadratic(eigenvalues: list[float]) -> None:
    generator = torch.Generator().manual_seed(0)
    q = torch.linalg.qr(torch.randn(4, 4, generator=generator, dtype=torch.float64)).Q
    hessian = (q @ torch.diag(torch.tensor(eigenvalues, dtype=torch.float64)) @ q.T).float()
    alphas = [nn.Parameter(torch.randn(2, generator=generator)) for _ in range(2)]
    before = [alpha.detach().clone() for alpha in alphas]

    def gradient() -> list[Tensor]:
        return list((hessian @ torch.cat([alpha.detach() for alpha in alphas])).split(2))

    found = largest_eigenvalue(gradient, alphas, iterations=40)
    assert found == pytest.approx(max(eigenvalues, key=abs), rel=1e-3)
    assert all(torch.equal(alpha, value) for alpha, value in zip(alphas, before, strict=True))


def test_a_loss_without_the_alphas_is_not_curved() -> None:
    assert largest_eigenvalue(lambda: [None], [nn.Parameter(torch.zeros(2, 3))]) == 0


def test_checks_are_few() -> None:
    assert [step for step in range(301) if is_check(step, 300)] == [50, 100, 150, 200, 250, 300]
    assert sum(is_check(step, 4000) for step in range(4001)) == collapse.CHECKS
    assert not any(is_check(step, 40) for step in range(41))


def test_growth_is_that_of_the_mean_four_checks_before() -> None:
    assert growth([1.0] * 4) is None
    assert growth([1.0, 1.0, 1.0, 1.0, 6.0]) == pytest.approx(2.0)
    assert growth([2.0, -2.0, 2.0, 2.0, 2.0, 2.0]) == pytest.approx(1.0)


def test_concentration_of_weights() -> None:
    signs = concentration(["a", "b"], torch.tensor([[0.5, 0.5], [1.0, 0.0]]))
    assert signs == {"entropy": [1.0, 0.0], "dominance": [0.0, 1.0], "shares": {"a": 0.75, "b": 0.25}}


def test_warnings_are_in_words() -> None:
    even = ((0.5, 0.5), (0.4, 0.6))
    assert collapse_warnings(["a", "b"], even, [1.0, 1.0, 1.0, 1.0, 1.2]) == []
    (curved,) = collapse_warnings(["a", "b"], even, [1.0, 1.0, 1.0, 1.0, 6.0, 1.0])
    assert "the loss became 2.0 times as curved" in curved
    (alone,) = collapse_warnings(["a", "b"], ((0.95, 0.05), (0.93, 0.07)), [])
    assert alone.startswith("a has a mean mixing weight of 0.94 over all stages")


def test_a_search_records_the_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collapse, "LEAST_STEPS", 3)

    def run(folder: str, every: int) -> tuple[Any, list[dict[str, Any]]]:
        monkeypatch.setattr(collapse, "CHECKS", every)
        searching = module()
        torch.manual_seed(0)
        train(searching, tmp_path / folder, [AlphaRecord(tmp_path / folder / "alphas.jsonl")])
        return searching, [json.loads(line) for line in (tmp_path / folder / "alphas.jsonl").read_text().splitlines()]

    searching, lines = run("checked", 3)
    first = STEPS // 4
    assert [line["step"] for line in lines if "curvature" in line] == [first + 3, first + 6, first + 9]
    assert {len(line["entropy"]) for line in lines} == {2}
    alphas = read_alphas(tmp_path / "checked" / "alphas.jsonl", 2)
    assert alphas is not None
    assert alphas.curvatures == tuple(line["curvature"] for line in lines if "curvature" in line)
    plain, unchecked = run("unchecked", 1)
    assert [line["step"] for line in unchecked if "curvature" in line] == [STEPS]
    assert all(
        torch.equal(value, plain.net.state_dict()[name]) for name, value in searching.net.state_dict().items()
    ), "a check changes nothing"
    assert searching.flops > plain.flops
    assert searching.tokens == plain.tokens

    # The Hessian of a softmax over two candidates in double precision, against the estimate.
    net = searching.net.eval()
    rows = batch()

    def loss(alpha: Tensor) -> Tensor:
        with torch.no_grad():
            net.alpha.copy_(alpha)
        return searching.loss(rows)

    origin = net.alpha.detach().clone()
    step, size = 0.1, origin.numel()
    basis = torch.eye(size).view(size, *origin.shape) * step
    with torch.no_grad():
        hessian = torch.tensor(
            [
                [
                    (loss(origin + a + b) - loss(origin + a - b) - loss(origin - a + b) + loss(origin - a - b)).item()
                    for b in basis
                ]
                for a in basis
            ]
        ) / (4 * step**2)
    net.alpha.data.copy_(origin)

    def gradient() -> Any:
        return torch.autograd.grad(searching.loss(rows), [net.alpha])

    largest = max(torch.linalg.eigvalsh(hessian).tolist(), key=abs)
    assert largest_eigenvalue(gradient, [net.alpha], iterations=30) == pytest.approx(largest, rel=0.1, abs=2e-3)
