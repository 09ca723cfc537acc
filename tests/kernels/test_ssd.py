"""The chunked scan agrees with plain in double precision, with all gradients, and plain with the formula."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from manticore.errors import ManticoreError
from manticore.kernels import ssd_scan
from manticore.kernels.backends.chunked import ssd, ssd_batched
from manticore.kernels.ops import SsdArgs
from tests.helpers.launches import CountLaunches
from tests.helpers.scan_cases import double

pytestmark = pytest.mark.numba

Arguments = dict[str, Tensor]
plain_ssd = partial(ssd_scan, backend="plain")
OPTIONAL = ["D", "z", "dt_bias", "initial_states"]
SUMMED = ("A", "D", "dt_bias")  # gradients that are sums over batch and length


@st.composite
def arguments(draw: st.DrawFn, dtype: torch.dtype = torch.float32) -> Arguments:
    """Shapes around the edges of a chunk, step sizes and decays from 0 to extreme, any optional arguments."""
    batch, width, states = (draw(st.sampled_from([1, 2, 5]), label=name) for name in ("batch", "head_dim", "state"))
    groups, shared = draw(st.integers(1, 3), label="groups"), draw(st.integers(1, 3), label="heads of a group")
    length = draw(st.sampled_from([1, 2, 7, 63, 64, 65, 130]), label="length")
    step_shift = draw(st.sampled_from([-8.0, -2.0, 0.0, 3.0]), label="step_shift")
    decay = draw(st.sampled_from([0.0, 1e-3, 1.0, 100.0]), label="decay")
    zeroed = draw(st.sampled_from([None, "x", "dt", "B", "C"]), label="zeroed")
    absent = draw(st.sets(st.sampled_from(OPTIONAL)), label="absent")
    r = torch.Generator().manual_seed(draw(st.integers(0, 2**16), label="seed"))
    heads = groups * shared

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=r)

    drawn = {
        "x": normal(batch, length, 2 * heads * width)[..., heads * width :].unflatten(-1, (heads, width)),
        "dt": normal(batch, heads, length).mT + step_shift,
        "A": -decay * torch.rand(heads, generator=r),
        "B": normal(batch, length, groups, states),
        "C": normal(batch, groups, length, states).transpose(1, 2),
        "D": normal(heads, width) if draw(st.booleans(), label="wide D") else normal(heads),
        "z": normal(batch, length, heads, width),
        "dt_bias": normal(heads),
        "initial_states": normal(batch, heads, width, states),
    }
    if zeroed:
        drawn[zeroed] = torch.zeros_like(drawn[zeroed])
    return {name: x.to(dtype) for name, x in drawn.items() if name not in absent}


def results(scan: Callable[..., Any], inputs: Arguments, **kwargs: Any) -> Arguments:
    """Output, last state and the gradient of each argument for a fixed random cotangent."""
    leaves = {name: x.detach().requires_grad_() for name, x in inputs.items()}
    y, last = scan(**leaves, **({"dt_softplus": True, "return_final_states": True} | kwargs))
    r = torch.Generator().manual_seed(7)
    loss = sum((x.double() * torch.randn(x.shape, generator=r, dtype=torch.float64)).sum() for x in (y, last))
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return {"y": y.detach(), "last": last.detach(), **dict(zip(leaves, gradients, strict=True))}


def batched_ssd(**fields: Any) -> Any:
    return ssd_batched.ssd_scan(SsdArgs(**fields))


def check(x: Arguments, tolerance: float, batched: bool = False, **kwargs: Any) -> None:
    """Error below `tolerance` of the largest value, or below twice the rounding error of plain in this precision."""
    chunk = kwargs.pop("chunk_size", None)
    scan = batched_ssd if batched else partial(ssd_scan, backend="chunked")
    fast = results(scan, x, chunk_size=chunk, **kwargs)
    rounded, exact = (results(plain_ssd, v, **kwargs) for v in (x, double(x)))
    for name, reference in exact.items():
        error = (fast[name].double() - reference).abs().max()
        unavoidable = 2 * (rounded[name].double() - reference).abs().max()
        if name in SUMMED:  # terms of about 1 that may cancel, each with its rounding error
            unavoidable = unavoidable + torch.finfo(torch.float32).eps * exact["y"][:, :, 0].numel()
        assert error <= torch.maximum(tolerance * reference.abs().max(), unavoidable), (name, error, unavoidable)
        assert fast[name].dtype == rounded[name].dtype


@settings(max_examples=40, deadline=None)
@given(arguments(), st.sampled_from([None, 1, 16, 100]))
def test_chunked_agrees_in_single_precision(x: Arguments, chunk: int | None) -> None:
    check(x, 1e-5, chunk_size=chunk)


@settings(max_examples=20, deadline=None)
@given(arguments(), st.sampled_from([None, 1, 16, 100]))
def test_batched_chunks_agree_in_single_precision(x: Arguments, chunk: int | None) -> None:
    check(x, 1e-5, batched=True, chunk_size=chunk)


@settings(max_examples=5, deadline=None)
@given(arguments(dtype=torch.float64))
def test_batched_chunks_agree_in_double_precision(x: Arguments) -> None:
    check(x, 1e-12, batched=True)


def test_deterministic_algorithms_need_no_cumsum(monkeypatch: pytest.MonkeyPatch) -> None:
    """With run.deterministic, torch refuses `cumsum` of floating-point numbers on a GPU."""
    shapes = {"x": (2, 70, 4, 3), "dt": (2, 70, 4), "A": (4,), "B": (2, 70, 2, 5), "C": (2, 70, 2, 5)}
    torch.manual_seed(0)
    x = {name: torch.randn(shape) for name, shape in shapes.items()}
    x["A"] = -x["A"].abs()
    expected = results(batched_ssd, x)
    monkeypatch.setattr(ssd, "refuses_cumsum", lambda _: True)

    class Refusing(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            assert func._schema.name != "aten::cumsum"
            return func(*args, **(kwargs or {}))

    with Refusing():
        actual = results(batched_ssd, x)
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_batched_chunks_need_few_launches_at_2000_tokens(dtype: torch.dtype) -> None:
    """A launch is a call of torch that computes or copies: one that returns no view of its inputs."""
    inputs = {"x": torch.randn(1, 2000, 2, 4), "dt": torch.randn(1, 2000, 2)}
    inputs |= {name: torch.randn(1, 2000, 1, 4) for name in ("B", "C")}
    inputs = {name: x.to(dtype) for name, x in inputs.items()}
    inputs |= {"A": -torch.rand(2), "D": torch.randn(2), "dt_bias": torch.randn(2)}
    leaves = {name: x.requires_grad_() for name, x in inputs.items()}
    with CountLaunches() as forward:
        y = batched_ssd(**leaves, dt_softplus=True)
    dy = torch.ones_like(y)
    with CountLaunches() as backward:
        torch.autograd.grad(y, list(leaves.values()), dy)
    assert forward.count <= 40
    assert backward.count <= 80


@settings(max_examples=12, deadline=None)
@given(arguments(dtype=torch.bfloat16))
def test_chunked_agrees_in_half_precision(x: Arguments) -> None:
    check(x, 2e-2)


@settings(max_examples=12, deadline=None)
@given(arguments(), st.sampled_from([(0.0, math.inf), (0.01, 0.5)]))
def test_chunked_agrees_where_dt_is_the_step(x: Arguments, limit: tuple[float, float]) -> None:
    check(x, 1e-5, dt_softplus=False, dt_limit=limit)


@settings(max_examples=12, deadline=None)
@given(arguments(dtype=torch.float64))
def test_chunked_agrees_in_double_precision(x: Arguments) -> None:
    check(x, 1e-12)


def small() -> Arguments:
    torch.manual_seed(0)
    shapes = {"x": (2, 5, 4, 3), "dt": (2, 5, 4), "A": (4,), "B": (2, 5, 2, 2), "C": (2, 5, 2, 2), "D": (4,)}
    shapes |= {"z": (2, 5, 4, 3), "dt_bias": (4,), "initial_states": (2, 4, 3, 2)}
    return {name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}


@pytest.mark.parametrize("backend", ["plain", "chunked"])
def test_gradients_match_finite_differences(backend: str) -> None:
    x = {name: value.requires_grad_() for name, value in small().items()}

    def scan(*values: Tensor) -> object:
        inputs = dict(zip(x, values, strict=True))
        return ssd_scan(**inputs, dt_softplus=True, return_final_states=True, chunk_size=2, backend=backend)

    assert torch.autograd.gradcheck(scan, tuple(x.values()))


def test_plain_is_the_recurrence() -> None:
    x = small()
    h = x["initial_states"][1, 2, 1].tolist()  # head 2 of 4 is in group 1 of 2
    for t in range(5):
        u, z, raw = float(x["x"][1, t, 2, 1]), float(x["z"][1, t, 2, 1]), float(x["dt"][1, t, 2] + x["dt_bias"][2])
        step = min(math.log1p(math.exp(raw)), 0.9)
        h = [
            math.exp(step * float(x["A"][2])) * s + step * float(b) * u for s, b in zip(h, x["B"][1, t, 1], strict=True)
        ]
        y = sum(float(c) * s for c, s in zip(x["C"][1, t, 1], h, strict=True)) + float(x["D"][2]) * u
        y *= z / (1 + math.exp(-z))
    out, last = plain_ssd(**x, dt_softplus=True, dt_limit=(0.0, 0.9), return_final_states=True)
    assert out[1, -1, 2, 1].item() == pytest.approx(y)
    assert last[1, 2, 1].tolist() == pytest.approx(h)


def medium() -> Arguments:
    torch.manual_seed(1)
    shapes = {"x": (2, 150, 6, 8), "dt": (2, 150, 6), "A": (6,), "B": (2, 150, 2, 16), "C": (2, 150, 2, 16)}
    x = {name: torch.randn(shape) for name, shape in shapes.items()}
    return x | {"A": -x["A"].abs(), "dt": x["dt"].abs()}


def test_steps_of_very_different_size() -> None:
    x = medium()
    x["dt"] = torch.where(torch.arange(150)[:, None] % 10 == 3, 1e5, 1e-3).expand(2, 150, 6)
    check({name: v.clone() for name, v in x.items()}, 1e-5, dt_softplus=False)


def test_each_result_alone_has_a_gradient() -> None:
    x = {name: value.requires_grad_() for name, value in medium().items()}
    inputs = [x[name] for name in ("x", "dt", "A", "B")]
    for index in (0, 1):
        fast, slow = (ssd_scan(**x, return_final_states=True, backend=name)[index] for name in ("chunked", "plain"))
        pairs = zip(*(torch.autograd.grad(v.sum(), inputs) for v in (fast, slow)), strict=True)
        assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5 * b.abs().max().item()) for a, b in pairs)


def test_the_chunk_size_does_not_matter() -> None:
    x = medium()
    runs = [results(ssd_scan, x, chunk_size=size) for size in (None, 1, 37, 150, 1000)]
    for run in runs:
        assert all(torch.allclose(run[k], v, rtol=1e-4, atol=1e-5 * v.abs().max().item()) for k, v in runs[0].items())


def test_a_scan_can_continue_from_its_last_state() -> None:
    x = medium()
    first = {name: v if name == "A" else v[:, :40] for name, v in x.items()}
    rest = {name: v if name == "A" else v[:, 40:] for name, v in x.items()}
    whole, end = ssd_scan(**x, return_final_states=True)
    head, middle = ssd_scan(**first, return_final_states=True)
    tail, last = ssd_scan(**rest, return_final_states=True, initial_states=middle)
    assert torch.allclose(torch.cat([head, tail], 1), whole, atol=1e-4)
    assert torch.allclose(last, end, atol=1e-5)


def test_strides_do_not_matter() -> None:
    x = medium()
    strided = {name: torch.stack([v, v], dim=-1)[..., 0] for name, v in x.items()}
    from_strided, expected = (results(ssd_scan, v) for v in (strided, x))
    for name, v in expected.items():
        assert torch.allclose(from_strided[name], v, rtol=1e-4, atol=1e-6 * v.abs().max().item()), name


@pytest.mark.parametrize("name", ["x", "dt", "B", "C"])
def test_a_nan_reaches_the_output(name: str) -> None:
    x = medium()
    x[name][:, 100] = torch.nan
    fast, slow = ssd_scan(**x, return_final_states=True), plain_ssd(**x, return_final_states=True)
    for actual, expected in zip(fast, slow, strict=True):
        assert (actual.isnan() | ~expected.isnan()).all()
    assert not fast[0][:, :64].isnan().any()


def test_autocast_changes_nothing() -> None:
    x = medium()
    with torch.autocast("cpu", torch.bfloat16):
        fast = results(ssd_scan, x)
    assert all(torch.equal(v, fast[name]) for name, v in results(ssd_scan, x).items())


def test_inputs_without_gradient_get_none() -> None:
    x = medium()
    x["x"].requires_grad_()
    ssd_scan(**x).sum().backward()
    assert x["x"].grad is not None
    assert x["B"].grad is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(2, 150, 6)}, "'x' has shape (2, 150, 6); allowed: (batch, length, heads, head_dim)"),
        ({"x": torch.zeros(2, 0, 6, 8)}, "'x' has shape (2, 0, 6, 8)"),
        ({"B": torch.zeros(2, 150, 4, 16)}, "'B' has shape (2, 150, 4, 16); allowed: (batch, length, groups, state)"),
        ({"B": torch.zeros(2, 150, 16)}, "with groups a divisor of 6 heads"),
        ({"B": torch.zeros(2, 150, 2, 0)}, "'B' has shape (2, 150, 2, 0)"),
        (
            {"C": torch.zeros(2, 150, 1, 16)},
            "'C' has shape (2, 150, 1, 16); allowed with these 'x', 'B': (2, 150, 2, 16)",
        ),
        ({"D": torch.zeros(8)}, "'D' has shape (8,); allowed with these 'x', 'B': (6,)"),
        ({"D": torch.zeros(6, 1)}, "'D' has shape (6, 1); allowed with these 'x', 'B': (6, 8)"),
        ({"initial_states": torch.zeros(2, 6, 16, 8)}, "'initial_states' has shape (2, 6, 16, 8)"),
        ({"dt": torch.zeros(2, 150, 6, dtype=torch.long)}, "'dt' is torch.int64; allowed: a real floating-point"),
        ({"A": torch.zeros(6, device="meta")}, "'A' is on meta; allowed: cpu, where 'x' is"),
        ({"A": None}, "'A' is NoneType; allowed: a torch.Tensor"),
        ({"chunk_size": 0}, "'chunk_size' is 0; allowed: None or an int from 1"),
        ({"dt_limit": (1.0, 0.0)}, "'dt_limit' is (1.0, 0.0); allowed: (lowest, highest)"),
        ({"backend": "cpu"}, "backend 'cpu' cannot run this ssd_scan: it has no ssd_scan"),
    ],
)
def test_the_argument_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ManticoreError, match="^.*" + re.escape(message)) as caught:
        ssd_scan(**(medium() | change))
    assert "\n" not in str(caught.value)


def test_shapes_are_computed_without_numbers() -> None:
    """On the device `meta`, as costs of a path are counted."""
    shape = {"x": (2, 3, 4, 5), "dt": (2, 3, 4), "A": (4,), "B": (2, 3, 2, 6), "C": (2, 3, 2, 6)}
    inputs = {name: torch.zeros(size, device="meta") for name, size in shape.items()}
    y, state = ssd_scan(**inputs, return_final_states=True)
    assert (y.shape, state.shape) == ((2, 3, 4, 5), (2, 4, 5, 6))
