"""Causal attention equals the formula with all scores in memory, with windows, padding, past keys and any length."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from manticore.errors import ManticoreError
from manticore.kernels import attention
from manticore.kernels.attention import causal_attention


def exact(q: Tensor, k: Tensor, v: Tensor, window: int | None, padding: Tensor | None, scale: float) -> Tensor:
    """The formula in double precision. A query that sees padded keys only averages their values."""
    q, k, v = q.double(), k.double(), v.double()
    queries, keys = q.shape[2], k.shape[2]
    distance = torch.arange(keys - queries, keys)[:, None] - torch.arange(keys)
    in_window = (distance >= 0) & (distance < (window or keys))
    seen = in_window[None] if padding is None else in_window & (padding != 0)[:, None]
    no_token = ~seen.any(-1, keepdim=True)
    scores = torch.where(no_token[:, None], 0.0, scale * q @ k.mT)
    return scores.masked_fill(~(seen | (no_token & in_window))[:, None], float("-inf")).softmax(-1) @ v


def random_qkv(batch: int, heads: int, queries: int, keys: int, width: int, seed: int = 0) -> list[Tensor]:
    """Queries, keys and values (B, H, L, d) with the memory layout of a layer, (B, L, H, d)."""
    r = torch.Generator().manual_seed(seed)
    lengths = (queries, keys, keys)
    return [torch.randn(batch, n, heads, width, generator=r).transpose(1, 2).requires_grad_() for n in lengths]


def random_padding(batch: int, keys: int, side: str, seed: int) -> Tensor | None:
    """A padding (B, Lk) on one side or scattered; None for `none`."""
    r = torch.Generator().manual_seed(seed)
    padding = torch.ones(batch, keys, dtype=torch.long)
    if side == "none":
        return None
    if side == "scattered":
        return (torch.rand(batch, keys, generator=r) < 0.6).long()
    for row in padding:
        boundary = int(torch.randint(0, keys + 1, (), generator=r))
        row[slice(boundary) if side == "left" else slice(boundary, None)] = 0
    return padding


@settings(max_examples=150)
@given(
    queries=st.sampled_from([1, 2, 7, 63, 64, 65, 130, 256, 301]),
    past=st.sampled_from([0, 0, 1, 5, 70, 200]),
    window=st.sampled_from([None, 1, 2, 6, 64, 65, 100, 128, 256, 1000]),
    side=st.sampled_from(["none", "left", "right", "scattered"]),
    scale=st.sampled_from([1.0, 0.25]),
    batch=st.integers(1, 2),
    seed=st.integers(0, 99),
)
def test_values_and_gradients(
    queries: int, past: int, window: int | None, side: str, scale: float, batch: int, seed: int
) -> None:
    inputs = random_qkv(batch, 2, queries, queries + past, 4, seed)
    padding = random_padding(batch, queries + past, side, seed)
    weight = torch.randn(batch, 2, queries, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    out = causal_attention(*inputs, window, padding, scale)
    expected = exact(*inputs, window, padding, scale)
    torch.testing.assert_close(out.double(), expected, rtol=1e-5, atol=1e-5)
    gradients = torch.autograd.grad((out * weight).sum(), inputs)
    expected_gradients = torch.autograd.grad((expected * weight).sum(), inputs)
    for gradient, reference in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, reference, rtol=1e-5, atol=1e-5 * max(1.0, reference.abs().max().item()))


@pytest.mark.parametrize("window", [None, 40])
@pytest.mark.parametrize("queries", [1, 3, 200])
def test_padding_alone_gives_finite_values_and_gradients(window: int | None, queries: int) -> None:
    inputs = random_qkv(2, 2, queries, 200, 4)
    out = causal_attention(*inputs, window, torch.zeros(2, 200))
    out.square().sum().backward()
    assert out.isfinite().all()
    assert all(x.grad.isfinite().all() for x in inputs)


def test_padded_positions_have_no_influence() -> None:
    q, k, v = (x.detach() for x in random_qkv(1, 2, 300, 300, 4))
    padding = torch.ones(1, 300)
    padding[:, :50] = 0
    before = causal_attention(q, k, v, 40, padding)
    k[:, :, :50], v[:, :, :50] = 1e3, -1e3
    assert torch.equal(causal_attention(q, k, v, 40, padding)[:, :, 50:], before[:, :, 50:])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("window", [None, 64])
@pytest.mark.parametrize("side", ["none", "left", "right"])
def test_half_precision(dtype: torch.dtype, window: int | None, side: str) -> None:
    inputs = [x.detach().to(dtype).requires_grad_() for x in random_qkv(2, 2, 200, 200, 16)]
    padding = random_padding(2, 200, side, 3)
    out = causal_attention(*inputs, window, padding, 0.25)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), exact(*inputs, window, padding, 0.25), rtol=2e-2, atol=2e-2)
    out.sum().backward()
    assert all(x.grad.isfinite().all() for x in inputs)


@pytest.mark.parametrize("window", [None, 64])
@pytest.mark.parametrize("side", ["none", "left"])
def test_dropout_preserves_the_mean(window: int | None, side: str) -> None:
    q, k, v = random_qkv(1, 8, 200, 200, 4)
    padding = random_padding(1, 200, side, 1)
    torch.manual_seed(0)
    out = causal_attention(q, k, torch.ones_like(v), window, padding, dropout=0.3)
    assert out.std() > 0.1
    assert abs(out.mean().item() - 1) < 0.1


def test_double_precision() -> None:
    inputs = [x.detach().double() for x in random_qkv(1, 2, 200, 200, 4)]
    torch.testing.assert_close(causal_attention(*inputs, 64), exact(*inputs, 64, None, 1.0))


def test_time_is_linear_in_the_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts scores instead of seconds."""
    scores = []
    original = torch.nn.functional.scaled_dot_product_attention

    def counting(q: Tensor, k: Tensor, v: Tensor, **options: object) -> Tensor:
        scores.append(q.shape[0] * q.shape[2] * k.shape[2])
        return original(q, k, v, **options)

    monkeypatch.setattr(attention.F, "scaled_dot_product_attention", counting)
    causal_attention(*random_qkv(1, 1, 1024, 1024, 4), 128)
    short = sum(scores)
    causal_attention(*random_qkv(1, 1, 4096, 4096, 4), 128)
    assert sum(scores) - short < 4.2 * short
    assert short < 1024 * 256


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v": torch.zeros(1, 2, 5, 3)}, "'v' has shape"),
        ({"k": torch.zeros(1, 2, 3, 4), "v": torch.zeros(1, 2, 3, 4)}, "'k' has 3 positions"),
        ({"k": torch.zeros(5, 4)}, "dimensions"),
        ({"window": 0}, "'window' is 0"),
        ({"padding": torch.ones(1, 4)}, "'padding' has shape"),
        ({"q": None}, "'q' is NoneType"),
    ],
)
def test_arguments_that_do_not_fit_are_named(change: dict[str, object], message: str) -> None:
    arguments = {name: torch.zeros(1, 2, 5, 4) for name in "qkv"} | change
    with pytest.raises(ManticoreError, match=message) as raised:
        causal_attention(**arguments)
    assert "\n" not in str(raised.value)
