"""MoRe: the factored and the dense form, its parameters and rank, and what it contains, beside LoRA."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from manticore.adapters.base import Adapter, adapter_options
from manticore.adapters.lora import LoRA, LoRAOptions
from manticore.adapters.more import MoRe, MoReOptions
from manticore.errors import ManticoreError

SHAPES = [(8, 8, 2, 2), (12, 8, 4, 4), (10, 7, 3, 6), (7, 13, 4, 1), (5, 40, 4, 3), (40, 5, 4, 8), (9, 9, 1, 2)]


def more(m: int, n: int, N: int, r: int) -> MoRe:
    """A MoRe adapter in double precision whose change is not 0."""
    torch.manual_seed(m + 10 * n + 100 * N + 1000 * r)
    adapter = MoRe(torch.empty(m, n, dtype=torch.float64), MoReOptions(N, r))
    torch.nn.init.normal_(adapter.B2)
    return adapter


def by_definition(adapter: MoRe) -> Tensor:
    """D by its sum over (a, q) with a N + l = k r + q, entry by entry."""
    D = torch.zeros(adapter.s * adapter.N, adapter.N * adapter.p, dtype=torch.float64)
    for k in range(adapter.N):
        for q in range(adapter.r):
            a, l = divmod(k * adapter.r + q, adapter.N)
            rows = torch.arange(adapter.s) * adapter.N + l
            D[rows, k * adapter.p : (k + 1) * adapter.p] += torch.outer(adapter.B2[l, :, a], adapter.B1[k, q])
    return D[: adapter.rows, : adapter.columns]


def error(adapter: Adapter, target: Tensor) -> float:
    """The squared error of the nearest change to a target, relative to the target's square."""
    adapter.approximate_(target)  # type: ignore[operator]
    return float((adapter.delta().detach() - target).square().sum() / target.square().sum())


@pytest.mark.parametrize(("m", "n", "N", "r"), SHAPES)
def test_the_dense_form_is_the_factored_one_and_the_definition(m: int, n: int, N: int, r: int) -> None:
    adapter = more(m, n, N, r)
    x = torch.randn(2, 3, n, dtype=torch.float64)
    torch.testing.assert_close(adapter.delta(), by_definition(adapter), atol=1e-12, rtol=0)
    torch.testing.assert_close(adapter(x), x @ adapter.delta().T, atol=1e-12, rtol=0)
    assert adapter.delta().shape == (m, n)


@pytest.mark.parametrize("N", [1, 2, 4])
@pytest.mark.parametrize("r", [1, 3, 4])
def test_parameters_do_not_depend_on_blocks_and_rank_grows_with_them(N: int, r: int) -> None:
    adapter = more(24, 16, N, r)
    assert adapter.trained == r * (24 + 16)
    assert torch.linalg.matrix_rank(adapter.delta()) == min(N * r, 16, 24)


def test_the_change_is_0_when_it_is_built() -> None:
    torch.manual_seed(0)
    adapter = MoRe(torch.empty(10, 7), MoReOptions(3, 2))
    assert not adapter.delta().any()
    assert not adapter(torch.randn(4, 7)).any()
    assert adapter.B1.abs().max() <= 3**-0.5
    assert adapter.B1.std() > 0.2  # uniform in +-0.577 has 0.333


@pytest.mark.parametrize(("m", "n"), [(16, 24), (13, 10)])
def test_every_matrix_of_rank_2_is_a_change_with_rank_2_blocks(m: int, n: int) -> None:
    torch.manual_seed(0)
    target = torch.randn(m, 2, dtype=torch.float64) @ torch.randn(2, n, dtype=torch.float64)
    assert error(more(m, n, 4, 8), target) < 1e-20


def test_neither_more_nor_lora_contains_the_other_at_equal_parameters() -> None:
    torch.manual_seed(0)
    n, rank = 64, 4
    lora = LoRA(torch.empty(n, n, dtype=torch.float64), LoRAOptions(rank))
    own = more(n, n, 4, rank)
    assert lora.trained == own.trained
    monarch, low_rank = own.delta().detach().clone(), torch.randn(n, rank).double() @ torch.randn(rank, n).double()
    assert error(own, monarch) < 1e-20
    assert error(lora, monarch) > 0.4
    assert error(lora, low_rank) < 1e-20
    assert error(own, low_rank) > 0.4


def test_the_nearest_change_in_closed_form_is_what_descent_finds() -> None:
    torch.manual_seed(0)
    target = torch.randn(8, 12, dtype=torch.float64)
    nearest = error(more(8, 12, 2, 2), target)
    adapter = more(8, 12, 2, 2)
    optimizer = torch.optim.LBFGS(adapter.parameters(), max_iter=400, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (adapter.delta() - target).square().sum() / target.square().sum()
        loss.backward()
        return loss

    for _ in range(3):
        fitted = float(optimizer.step(closure).detach())
    assert fitted == pytest.approx(nearest, abs=1e-6)
    assert 0.1 < nearest < 0.9


def test_blocks_stay_0_below_a_rank_of_their_number_and_users_read_it() -> None:
    adapter = more(64, 64, 16, 4)
    blocks = adapter.delta().reshape(4, 16, 16, 4).abs().amax((0, 3))  # (l, k)
    assert int((blocks == 0).sum()) == 192
    assert "75% of the blocks of a change stay 0" in adapter.notes[0]
    assert not more(64, 64, 4, 4).notes


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ManticoreError, match=r"adapter.options.rank must be a whole number of at least 1, got 0"):
        adapter_options("more", {"rank": 0})
    with pytest.raises(ManticoreError, match=r"adapter.options.rnk'. Did you mean 'adapter.options.rank'"):
        adapter_options("more", {"rnk": 2})
    with pytest.raises(ManticoreError, match="blocks 9 is above 8, the smaller side of a weight"):
        MoRe.check(8, 20, MoReOptions(9, 4))
    with pytest.raises(ManticoreError, match="blocks divide rank"):
        more(8, 8, 4, 2).approximate_(torch.zeros(8, 8).double())
