"""A decoding step is one step of the scan, for Mamba and Mamba-2, and overwrites its state."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from manticore.errors import ManticoreError
from manticore.kernels import selective_scan, selective_state_update, ssd_scan

pytestmark = pytest.mark.numba

Arguments = dict[str, Tensor]


@st.composite
def steps(draw: st.DrawFn, dtype: torch.dtype = torch.float64, heads: bool = False) -> Arguments:
    """Arguments of one step, with any of the optional ones. With heads, A and the biases depend on the head alone."""
    batch, width, states = (draw(st.integers(1, 5), label=name) for name in ("batch", "width", "state"))
    groups, shared = draw(st.integers(1, 3), label="groups"), draw(st.integers(1, 3), label="heads of a group")
    shift, decay = draw(st.sampled_from([-30.0, 0.0, 30.0])), draw(st.sampled_from([0.0, 1.0, 1000.0]))
    absent = draw(st.sets(st.sampled_from(["D", "z", "dt_bias"])), label="absent")
    r = torch.Generator().manual_seed(draw(st.integers(0, 2**16), label="seed"))

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=r)

    channels = (groups * shared, width) if heads else (width,)
    constant = (groups * shared, 1) if heads else (width,)
    projection = (batch, groups, states) if heads else (batch, states)
    drawn = {
        "state": normal(batch, *channels, states),
        "x": normal(batch, *channels),
        "dt": normal(batch, *constant).expand(batch, *channels) + shift,
        "A": -decay * torch.rand(*constant, 1 if heads else states, generator=r).expand(*channels, states),
        "B": normal(*projection),
        "C": normal(*projection),
        "D": normal(*channels),
        "z": normal(batch, *channels),
        "dt_bias": normal(*constant).expand(channels),
    }
    return {name: x.to(dtype) for name, x in drawn.items() if name not in absent}


@settings(max_examples=30, deadline=None)
@given(steps())
def test_is_a_step_of_the_scan(x: Arguments) -> None:
    def along(name: str) -> Tensor | None:
        return x[name][..., None] if name in x else None

    state = x["state"].clone()
    sequences = [x["x"][..., None], x["dt"][..., None], x["A"], x["B"][..., None], x["C"][..., None]]
    y, last = selective_scan(*sequences, x.get("D"), along("z"), x.get("dt_bias"), True, True, x["state"])
    assert torch.allclose(selective_state_update(**(x | {"state": state}), dt_softplus=True), y[..., 0])
    assert torch.allclose(state, last)


@settings(max_examples=30, deadline=None)
@given(steps(heads=True))
def test_is_a_step_of_the_scan_with_heads(x: Arguments) -> None:
    state = x["state"].clone()
    y, last = ssd_scan(
        x["x"][:, None],
        x["dt"][:, None, :, 0],
        x["A"][:, 0, 0],
        x["B"][:, None],
        x["C"][:, None],
        x.get("D"),
        x["z"][:, None] if "z" in x else None,
        x["dt_bias"][:, 0] if "dt_bias" in x else None,
        x["state"],
        dt_softplus=True,
        return_final_states=True,
        backend="plain",
    )
    assert torch.allclose(selective_state_update(**(x | {"state": state}), dt_softplus=True), y[:, 0])
    assert torch.allclose(state, last)


@settings(max_examples=20, deadline=None)
@given(st.booleans().flatmap(lambda heads: steps(torch.float32, heads)))
def test_agrees_with_double_precision(x: Arguments) -> None:
    exact = {name: v.to(torch.float64, copy=True) for name, v in x.items()}
    y, reference = (selective_state_update(**v, dt_softplus=True) for v in (x, exact))
    for fast, slow in ((y, reference), (x["state"], exact["state"])):
        terms = slow.abs().max() + x["x"].abs().max() * x["dt"].abs().max()  # y is a sum that may cancel
        assert (fast - slow).abs().max() <= 1e-5 * terms


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dtypes_of_state_and_output(dtype: torch.dtype) -> None:
    state = torch.ones(2, 3, 4, dtype=dtype)
    x = torch.ones(2, 3, dtype=torch.bfloat16)
    y = selective_state_update(state, x, x, -torch.ones(3, 4), torch.ones(2, 4), torch.ones(2, 4))
    assert (y.dtype, state.dtype) == (torch.bfloat16, dtype)
    assert torch.allclose(state.float(), torch.tensor(1.3679), atol=1e-2)


def medium() -> Arguments:
    torch.manual_seed(0)
    shapes = {"state": (2, 4, 3, 5), "x": (2, 4, 3), "dt": (2, 4, 3), "A": (4, 3, 5), "B": (2, 2, 5), "C": (2, 2, 5)}
    shapes |= {"D": (4, 3), "z": (2, 4, 3), "dt_bias": (4, 3)}
    return {name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}


def test_gradients_match_finite_differences() -> None:
    x = {name: value.requires_grad_() for name, value in medium().items()}

    def step(state: Tensor, *values: Tensor) -> Tensor:
        rest = dict(zip(list(x)[1:], values, strict=True))
        return selective_state_update(state.clone(), **rest, dt_softplus=True)

    assert torch.autograd.gradcheck(step, tuple(x.values()))


def test_the_written_state_has_no_history() -> None:
    x = medium()
    x["x"].requires_grad_()
    y = selective_state_update(**x)
    assert not x["state"].requires_grad
    selective_state_update(**x)
    y.sum().backward()


def test_strides_do_not_matter() -> None:
    x = medium()
    strided = {name: torch.stack([v, v], dim=-1)[..., 0] for name, v in x.items()}
    assert torch.equal(selective_state_update(**strided), selective_state_update(**x))
    assert torch.equal(strided["state"], x["state"])


@pytest.mark.parametrize("name", ["state", "x", "dt", "B"])
def test_a_nan_reaches_output_and_state(name: str) -> None:
    x = medium()
    x[name][1] = torch.nan
    y = selective_state_update(**x)
    assert y[1].isnan().all()
    assert x["state"][1].isnan().all()
    assert not y[0].isnan().any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": torch.zeros(2, 3)}, "'state' has shape (2, 3); allowed: (batch, width, state) or (batch, heads"),
        ({"state": torch.zeros(2, 0, 3)}, "'state' has shape (2, 0, 3)"),
        ({"x": torch.zeros(2, 4)}, "'x' has shape (2, 4); allowed with these 'state', 'B': (2, 4, 3)"),
        ({"B": torch.zeros(2, 3, 5)}, "'B' has shape (2, 3, 5); allowed: (batch, groups, state) with groups a divisor"),
        ({"C": torch.zeros(2, 4, 5)}, "'C' has shape (2, 4, 5); allowed with these 'state', 'B': (2, 2, 5)"),
        ({"D": torch.zeros(4)}, "'D' has shape (4,)"),
        ({"dt": torch.zeros(2, 4, 3, dtype=torch.long)}, "'dt' is torch.int64; allowed: a real floating-point"),
        ({"z": torch.zeros(2, 4, 3, device="meta")}, "'z' is on meta; allowed: cpu, where 'state' is"),
        ({"A": None}, "'A' is NoneType; allowed: a torch.Tensor"),
        ({"backend": "cpu"}, "backend 'cpu' cannot run this selective_state_update: it has no selective_state_update"),
    ],
)
def test_the_argument_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ManticoreError, match="^.*" + re.escape(message)) as caught:
        selective_state_update(**(medium() | change))
    assert "\n" not in str(caught.value)
