"""The CPU convolution agrees with the plain one in double precision, with all gradients, in both memory layouts."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from manticore.errors import ManticoreError
from manticore.kernels import causal_conv1d, causal_conv1d_update
from tests.helpers.scan_cases import double

pytestmark = pytest.mark.numba

Arguments = dict[str, Tensor]
plain_conv = partial(causal_conv1d, backend="plain")
SUMMED = ("weight", "bias")  # gradients that are sums over batch and length


def along_time(x: Tensor) -> Tensor:
    return x.contiguous()


def along_width(x: Tensor) -> Tensor:
    return x.mT.contiguous().mT


def half_of_time(x: Tensor) -> Tensor:
    return torch.cat([x, x], dim=-1)[..., x.shape[-1] :]


def half_of_width(x: Tensor) -> Tensor:
    return torch.cat([x.mT, x.mT], dim=-1)[..., x.shape[1] :].mT


def every_other(x: Tensor) -> Tensor:
    return torch.stack([x, x], dim=-1)[..., 0]


LAYOUTS = [along_time, along_width, half_of_time, half_of_width, every_other]


@st.composite
def arguments(draw: st.DrawFn, dtype: torch.dtype = torch.float32) -> Arguments:
    """Shapes around the edges of a tile, both layouts, values from 0 to extreme, with any of the optional arguments."""
    batch = draw(st.integers(1, 3), label="batch")
    width = draw(st.sampled_from([1, 2, 5, 33, 511, 513]), label="width")
    length = draw(st.sampled_from([1, 2, 3, 4, 31, 33, 65, 2047, 2051] if width < 100 else [1, 31, 34]), label="length")
    kernel = draw(st.integers(1, 9), label="kernel")
    layout = draw(st.sampled_from(LAYOUTS), label="layout")
    scale = draw(st.sampled_from([0.0, 1.0, 30.0]), label="scale")
    absent = draw(st.sets(st.sampled_from(["bias", "initial_states"])), label="absent")
    r = torch.Generator().manual_seed(draw(st.integers(0, 2**16), label="seed"))

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=r).to(dtype)

    drawn = {
        "x": layout(scale * normal(batch, width, length)),
        "weight": normal(width, kernel),
        "bias": normal(width),
        "initial_states": normal(batch, width, kernel - 1),
    }
    return {name: x for name, x in drawn.items() if name not in absent}


def results(conv: Callable[..., Any], inputs: Arguments, activation: str | None, **kwargs: Any) -> Arguments:
    """Output, final states and the gradient of each argument for a fixed random cotangent."""
    leaves = {name: x.detach().requires_grad_() for name, x in inputs.items()}
    y, final = conv(**leaves, activation=activation, return_final_states=True, **kwargs)
    r = torch.Generator().manual_seed(7)
    loss = sum((x.double() * torch.randn(x.shape, generator=r, dtype=torch.float64)).sum() for x in (y, final))
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return {"y": y.detach(), "final": final.detach(), **dict(zip(leaves, gradients, strict=True))}


def check(x: Arguments, activation: str | None, tolerance: float) -> None:
    """Error below `tolerance` of the largest value, or below twice the rounding error of plain in this precision."""
    fast = results(causal_conv1d, x, activation, backend="cpu")
    rounded, exact = (results(plain_conv, v, activation) for v in (x, double(x)))
    for name, reference in exact.items():
        if not reference.numel():
            continue
        error = (fast[name].double() - reference).abs().max()
        unavoidable = 2 * (rounded[name].double() - reference).abs().max()
        if name in SUMMED:  # terms as large as x that may cancel, each with its rounding error
            largest = max(1.0, float(x["x"].abs().max())) * x["x"][:, 0].numel()
            unavoidable = unavoidable + torch.finfo(torch.float32).eps * largest
        assert error <= torch.maximum(tolerance * reference.abs().max(), unavoidable), (name, error, unavoidable)
        assert fast[name].dtype == rounded[name].dtype


@settings(max_examples=60, deadline=None)
@given(arguments(), st.sampled_from([None, "silu", "swish"]))
def test_cpu_agrees_in_single_precision(x: Arguments, activation: str | None) -> None:
    check(x, activation, 1e-5)


@settings(max_examples=20, deadline=None)
@given(arguments(dtype=torch.bfloat16), st.sampled_from([None, "silu"]))
def test_cpu_agrees_in_half_precision(x: Arguments, activation: str | None) -> None:
    check(x, activation, 2e-2)


def medium(layout: Callable[[Tensor], Tensor] = along_time, dtype: torch.dtype = torch.float32) -> Arguments:
    torch.manual_seed(0)
    shapes = {"x": (3, 70, 100), "weight": (70, 4), "bias": (70,), "initial_states": (3, 70, 3)}
    x = {name: torch.randn(shape, dtype=dtype) for name, shape in shapes.items()}
    return x | {"x": layout(x["x"])}


def test_plain_is_torchs_convolution() -> None:
    x = medium(dtype=torch.float64)
    padded = torch.cat([x["initial_states"], x["x"]], dim=-1)
    y = F.silu(F.conv1d(padded, x["weight"][:, None], x["bias"], groups=70))
    assert torch.allclose(plain_conv(**x, activation="silu"), y)


def test_plain_gradients_match_finite_differences() -> None:
    x = {name: v[..., :4].narrow(-2 if v.ndim > 1 else -1, 0, 2) for name, v in medium(dtype=torch.float64).items()}

    def conv(*values: Tensor) -> object:
        inputs = dict(zip(x, values, strict=True))
        return plain_conv(**inputs, activation="silu", return_final_states=True)

    assert torch.autograd.gradcheck(conv, tuple(v.contiguous().requires_grad_() for v in x.values()))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides_do_not_matter(layout: Callable[[Tensor], Tensor]) -> None:
    strided, packed = (results(causal_conv1d, medium(way), "silu", backend="cpu") for way in (layout, along_time))
    assert all(torch.allclose(strided[name], packed[name], rtol=1e-5, atol=1e-5) for name in packed)


@pytest.mark.parametrize("layout", [along_time, along_width])
def test_output_and_gradient_have_the_layout_of_the_input(layout: Callable[[Tensor], Tensor]) -> None:
    x = medium(layout)["x"].requires_grad_()
    y = causal_conv1d(x, torch.ones(70, 4), backend="cpu")
    y.backward(torch.ones_like(y))
    assert x.grad is not None
    assert y.stride() == x.grad.stride() == x.stride()


def test_an_expanded_input_and_a_transposed_gradient() -> None:
    x = torch.randn(2, 5, 1).expand(-1, -1, 9)
    w = torch.randn(5, 4, requires_grad=True)
    fast, slow = (causal_conv1d(x, w, backend=name) for name in ("cpu", "plain"))
    g = torch.randn(2, 9, 5).mT
    fast_grad, slow_grad = (torch.autograd.grad(y, w, g)[0] for y in (fast, slow))
    assert torch.allclose(fast_grad, slow_grad, atol=1e-5)


@pytest.mark.parametrize("layout", [along_time, along_width])
def test_results_are_bit_identical_with_any_number_of_threads(layout: Callable[[Tensor], Tensor]) -> None:
    x, threads = medium(layout), torch.get_num_threads()
    try:
        runs = []
        for torch_threads in (2, 2, 1, 3):
            torch.set_num_threads(torch_threads)
            runs.append(results(causal_conv1d, x, "silu", backend="cpu"))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(run[name], runs[0][name]) for run in runs for name in runs[0])


@pytest.mark.parametrize("steps", [1, 2, 50])
def test_a_convolution_can_continue_from_its_final_states(steps: int) -> None:
    x = medium()
    whole, end = causal_conv1d(**x, return_final_states=True)
    sequence, start = x.pop("x"), x.pop("initial_states")
    head, middle = causal_conv1d(sequence[..., :steps], **x, initial_states=start, return_final_states=True)
    tail, last = causal_conv1d(sequence[..., steps:], **x, initial_states=middle, return_final_states=True)
    assert torch.allclose(torch.cat([head, tail], -1), whole, atol=1e-6)
    assert torch.equal(last, end)


@pytest.mark.parametrize("state_length", [3, 4, 7])
@pytest.mark.parametrize("steps", [None, 1, 2, 5])
def test_an_update_continues_a_sequence(state_length: int, steps: int | None) -> None:
    x = medium()
    before, after = x["x"][..., :20], x["x"][..., 20 : 20 + (steps or 1)]
    constants = {"weight": x["weight"], "bias": x["bias"], "activation": "silu"}
    state = before[..., 20 - state_length :].clone()
    y = causal_conv1d_update(after if steps else after[..., 0], state, **constants)
    whole = causal_conv1d(x["x"][..., : 20 + (steps or 1)], **constants)[..., 20:]
    assert torch.allclose(y, whole if steps else whole[..., 0], atol=1e-6)
    assert torch.equal(state, torch.cat([before, after], -1)[..., -state_length:])


def test_an_update_has_gradients_and_its_state_has_no_history() -> None:
    x = {name: v.requires_grad_() for name, v in medium(dtype=torch.float64).items() if name != "initial_states"}
    state = torch.zeros(3, 70, 4, dtype=torch.float64)
    y = causal_conv1d_update(x["x"], state, x["weight"], x["bias"])
    assert not state.requires_grad
    gradients = torch.autograd.grad(y.sin().sum(), list(x.values()))
    expected = torch.autograd.grad(causal_conv1d(**x).sin().sum(), list(x.values()))
    assert all(torch.allclose(a, b) for a, b in zip(gradients, expected, strict=True))


@pytest.mark.parametrize("layout", [along_time, along_width])
@pytest.mark.parametrize("name", ["x", "weight", "bias", "initial_states"])
def test_a_nan_reaches_all_results(name: str, layout: Callable[[Tensor], Tensor]) -> None:
    x = medium(layout)
    x[name].select(-1, 2).fill_(torch.nan)
    fast, slow = (results(conv, x, "silu") for conv in (causal_conv1d, plain_conv))
    assert all(torch.equal(fast[key].isnan(), slow[key].isnan()) for key in slow)


def test_autocast_changes_nothing() -> None:
    x = medium()
    with torch.autocast("cpu", torch.bfloat16):
        fast = results(causal_conv1d, x, "silu")
    assert all(torch.equal(v, fast[name]) for name, v in results(causal_conv1d, x, "silu").items())


def test_double_precision_uses_plain() -> None:
    x = medium(dtype=torch.float64)
    assert torch.equal(causal_conv1d(**x), plain_conv(**x))


def test_import_does_not_import_numba() -> None:
    probe = "import sys, manticore.kernels.backends.cpu.conv; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(3, 5)}, "'x' has shape (3, 5); allowed: (batch, width, length)"),
        ({"x": torch.zeros(3, 70, 0)}, "'x' has shape (3, 70, 0)"),
        ({"weight": torch.zeros(4, 70)}, "'weight' has shape (4, 70); allowed: (width, kernel) with width 70"),
        ({"weight": torch.zeros(70, 0)}, "'weight' has shape (70, 0)"),
        ({"bias": torch.zeros(4)}, "'bias' has shape (4,); allowed with these 'x', 'weight': (70,)"),
        ({"initial_states": torch.zeros(3, 70, 4)}, "'initial_states' has shape (3, 70, 4)"),
        ({"weight": torch.zeros(70, 4, dtype=torch.long)}, "'weight' is torch.int64; allowed: a real floating-point"),
        ({"bias": torch.zeros(70, device="meta")}, "'bias' is on meta; allowed: cpu, where 'x' is"),
        ({"weight": None}, "'weight' is NoneType; allowed: a torch.Tensor"),
        ({"activation": "relu"}, "'activation' is 'relu'; allowed: None, 'silu', 'swish'"),
        ({"x": torch.zeros(3, 70, 5).double(), "backend": "cpu"}, "backend 'cpu' cannot run this causal_conv1d: 'x'"),
    ],
)
def test_the_argument_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ManticoreError, match="^.*" + re.escape(message)) as caught:
        causal_conv1d(**(medium() | change))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(3)}, "'x' has shape (3,); allowed: (batch, width) or (batch, width, steps)"),
        ({"conv_state": torch.zeros(3, 70, 2)}, "'conv_state' has shape (3, 70, 2); allowed: (3, 70, at least 3)"),
        ({"conv_state": torch.zeros(3, 70)}, "'conv_state' has shape (3, 70)"),
        ({"activation": "gelu"}, "'activation' is 'gelu'"),
    ],
)
def test_the_argument_of_an_update_is_named(change: dict[str, Any], message: str) -> None:
    valid = {"x": torch.zeros(3, 70), "conv_state": torch.zeros(3, 70, 4), "weight": torch.zeros(70, 4)}
    with pytest.raises(ManticoreError, match="^.*" + re.escape(message)) as caught:
        causal_conv1d_update(**(valid | change))
    assert "\n" not in str(caught.value)
