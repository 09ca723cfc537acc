"""The CPU scan agrees with the plain one in double precision, with gradients, and the plain one with the formula."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings

from manticore.kernels import selective_scan
from tests.helpers.scan_cases import Arguments, arguments, assert_close, double, plain_scan, results

pytestmark = pytest.mark.numba


@settings(max_examples=50, deadline=None)
@given(arguments())
def test_cpu_agrees_in_single_precision(x: Arguments) -> None:
    exact, rounded = results(plain_scan, double(x)), results(plain_scan, x)
    assert_close(results(selective_scan, x, backend="cpu"), exact, rounded, 1e-5)


@settings(max_examples=12, deadline=None)
@given(arguments(dtype=torch.bfloat16))
def test_cpu_agrees_in_half_precision(x: Arguments) -> None:
    exact, rounded = results(plain_scan, double(x)), results(plain_scan, x)
    fast = results(selective_scan, x, backend="cpu")
    assert fast["y"].dtype == torch.bfloat16
    assert fast["last"].dtype == torch.float32
    assert_close(fast, exact, rounded, 2e-2)


@settings(max_examples=12, deadline=None)
@given(arguments())
def test_cpu_agrees_where_delta_is_the_step(x: Arguments) -> None:
    x["delta"] = x["delta"].exp()
    x.pop("delta_bias", None)
    exact, rounded = (results(plain_scan, v, softplus=False) for v in (double(x), x))
    assert_close(results(selective_scan, x, softplus=False, backend="cpu"), exact, rounded, 1e-5)


def test_the_last_state_alone_has_a_gradient() -> None:
    x = {name: value.requires_grad_() for name, value in medium().items()}
    fast = selective_scan(**x, return_last_state=True)[1]
    slow = plain_scan(**x, return_last_state=True)[1]
    inputs = [x[name] for name in ("u", "delta", "A", "B")]
    pairs = zip(*(torch.autograd.grad(last.sum(), inputs) for last in (fast, slow)), strict=True)
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5 * b.abs().max().item()) for a, b in pairs)


@pytest.mark.parametrize("name", ["u", "delta", "A", "B", "C", "z"])
def test_a_nan_reaches_the_output(name: str) -> None:
    x = medium()
    x[name].select(-1, 3).fill_(torch.nan)
    assert torch.equal(selective_scan(**x).isnan(), plain_scan(**x).isnan())


def test_compiles_where_no_cache_can_be_written() -> None:
    probe = "from numba.core.caching import CompileResultCacheImpl as cache; cache._locator_classes = []\n"
    probe += "from manticore.kernels.backends.cpu import tiles; assert tiles.exp2(tiles.np.float32(3)) == 8"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


def test_a_forked_child_can_scan() -> None:
    x = medium()
    expected = selective_scan(**x)
    if (child := os.fork()) == 0:
        os._exit(0 if torch.equal(selective_scan(**x), expected) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_many_threads_may_call_at_once() -> None:
    x = medium()
    expected = selective_scan(**x)
    with ThreadPoolExecutor(8) as callers:
        outputs = list(callers.map(lambda _: selective_scan(**x), range(64)))
    assert all(torch.equal(output, expected) for output in outputs)


def small(dtype: torch.dtype = torch.float64) -> Arguments:
    torch.manual_seed(0)
    b, w, length, n = 2, 3, 5, 2
    shapes = {
        "u": (b, w, length),
        "delta": (b, w, length),
        "A": (w, n),
        "B": (b, n, length),
        "C": (b, n, length),
        "D": (w,),
    }
    shapes |= {"z": (b, w, length), "delta_bias": (w,), "initial_state": (b, w, n)}
    return {name: torch.randn(shape, dtype=dtype) for name, shape in shapes.items()}


def test_plain_gradients_match_finite_differences() -> None:
    x = {name: value.requires_grad_() for name, value in small().items()}

    def scan(*values: torch.Tensor) -> object:
        return plain_scan(**dict(zip(x, values, strict=True)), delta_softplus=True, return_last_state=True)

    assert torch.autograd.gradcheck(scan, tuple(x.values()))


def test_plain_is_the_recurrence() -> None:
    x = small()
    h = x["initial_state"][1, 2].tolist()
    for t in range(5):
        u, delta, z = (float(x[name][1, 2, t]) for name in ("u", "delta", "z"))
        step = torch.tensor(delta + float(x["delta_bias"][2])).exp().log1p().item()
        decay = [torch.tensor(step * float(a)).exp().item() for a in x["A"][2]]
        h = [d * s + step * float(b) * u for d, s, b in zip(decay, h, x["B"][1, :, t], strict=True)]
        y = sum(float(c) * s for c, s in zip(x["C"][1, :, t], h, strict=True)) + float(x["D"][2]) * u
        y *= z * torch.tensor(z).sigmoid().item()
    out, last = plain_scan(**x, delta_softplus=True, return_last_state=True)
    assert out[1, 2, -1].item() == pytest.approx(y, rel=1e-5)
    assert last[1, 2].tolist() == pytest.approx(h, rel=1e-5)


def medium() -> Arguments:
    torch.manual_seed(1)
    b, w, length, n = 3, 70, 100, 16
    shapes = {
        "u": (b, w, length),
        "delta": (b, w, length),
        "A": (w, n),
        "B": (b, n, length),
        "C": (b, n, length),
        "z": (b, w, length),
    }
    x = {name: torch.randn(shape) for name, shape in shapes.items()}
    return x | {"A": -x["A"].abs()}


def test_results_are_bit_identical_with_any_number_of_threads() -> None:
    x, threads = medium(), torch.get_num_threads()
    try:
        runs = []
        for torch_threads in (2, 2, 1, 3):
            torch.set_num_threads(torch_threads)
            runs.append(results(selective_scan, x, backend="cpu"))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(run[name], runs[0][name]) for run in runs for name in runs[0])


def test_strides_do_not_matter() -> None:
    x = medium()
    strided = {name: torch.stack([v.mT, v.mT]).mT[0][..., :: -1 if v.ndim == 1 else 1] for name, v in x.items()}
    strided["u"] = x["u"][:, :, :1].expand(-1, -1, 100)
    packed = {name: v.contiguous() for name, v in strided.items()}
    from_strided, from_packed = (results(selective_scan, v, backend="cpu") for v in (strided, packed))
    assert all(torch.equal(from_strided[name], from_packed[name]) for name in from_packed)


def test_a_scan_can_continue_from_its_last_state() -> None:
    x = medium()
    first = {name: v if name == "A" else v[..., :40] for name, v in x.items()}
    rest = {name: v if name == "A" else v[..., 40:] for name, v in x.items()}
    whole, end = selective_scan(**x, return_last_state=True)
    head, middle = selective_scan(**first, return_last_state=True)
    tail, last = selective_scan(**rest, return_last_state=True, initial_state=middle)
    assert torch.allclose(torch.cat([head, tail], -1), whole, atol=1e-5)
    assert torch.allclose(last, end, atol=1e-5)


def test_inputs_without_gradient_get_none() -> None:
    x = medium()
    x["u"].requires_grad_()
    y = selective_scan(**x)
    y.sum().backward()
    assert x["u"].grad is not None
    assert x["B"].grad is None


def test_double_precision_uses_plain() -> None:
    x = small()
    assert torch.equal(selective_scan(**x), plain_scan(**x))


def test_import_does_not_import_numba() -> None:
    probe = "import sys, manticore.kernels; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0
