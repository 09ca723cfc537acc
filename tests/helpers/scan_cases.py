"""Drawn arguments for scans, the gradients of a scan, and the plain backend as the reference."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from manticore.kernels import selective_scan

plain_scan = partial(selective_scan, backend="plain")

Arguments = dict[str, Tensor]
SUMMED = ("A", "D", "delta_bias")  # gradients that are sums over batch and length


@st.composite
def arguments(draw: st.DrawFn, dtype: torch.dtype = torch.float32) -> Arguments:
    """Shapes around the edges of a tile, step sizes and decays from 0 to extreme, any optional arguments."""
    batch = draw(st.integers(1, 3), label="batch")
    width = draw(st.sampled_from([1, 2, 5, 31, 32, 33, 70]), label="width")
    length = draw(st.sampled_from([1, 2, 7, 63, 64, 65, 130]), label="length")
    state = draw(st.sampled_from([1, 3, 4, 16]), label="state")
    step_shift = draw(st.sampled_from([-8.0, -2.0, 0.0, 3.0]), label="step_shift")
    decay = draw(st.sampled_from([0.0, 1e-3, 1.0, 100.0]), label="decay")
    optional = draw(st.sets(st.sampled_from(["D", "z", "delta_bias", "initial_state"])), label="optional")
    zeroed = draw(st.sampled_from([None, "u", "delta", "B", "C"]), label="zeroed")
    r = torch.Generator().manual_seed(draw(st.integers(0, 2**16), label="seed"))

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=r)

    drawn = {
        "u": normal(batch, width, length),
        "delta": normal(batch, length, width).mT + step_shift,
        "A": -decay * torch.rand(width, state, generator=r),
        "B": normal(batch, length, state).mT,
        "C": normal(batch, state, length),
        "D": normal(width),
        "z": normal(batch, length, 2 * width).mT[:, width:],
        "delta_bias": normal(width),
        "initial_state": normal(batch, width, state),
    }
    if zeroed:
        drawn[zeroed] = torch.zeros_like(drawn[zeroed])
    absent = {"D", "z", "delta_bias", "initial_state"} - optional
    return {name: x.to(dtype) for name, x in drawn.items() if name not in absent}


def results(scan: Callable[..., Any], inputs: Arguments, softplus: bool = True, **kwargs: Any) -> Arguments:
    """Output, last state and the gradient of each argument for a fixed random cotangent."""
    leaves = {name: x.detach().requires_grad_() for name, x in inputs.items()}
    y, last = scan(**leaves, delta_softplus=softplus, return_last_state=True, **kwargs)
    r = torch.Generator().manual_seed(7)
    wide = torch.promote_types(y.dtype, torch.float32)
    loss = sum((x.to(wide) * torch.randn(x.shape, generator=r, dtype=torch.float64).to(wide)).sum() for x in (y, last))
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return {"y": y.detach(), "last": last.detach(), **dict(zip(leaves, gradients, strict=True))}


def double(inputs: Arguments) -> Arguments:
    """The arguments in double precision."""
    return {name: x.double() for name, x in inputs.items()}


def assert_close(fast: Arguments, exact: Arguments, rounded: Arguments, tolerance: float) -> None:
    """Error below `tolerance` of the largest value, or below twice the rounding error of plain single precision."""
    for name, reference in exact.items():
        error = (fast[name].double() - reference).abs().max()
        unavoidable = 2 * (rounded[name].double() - reference).abs().max()
        if name in SUMMED:  # terms of about 1 that may cancel, each with its rounding error
            unavoidable = unavoidable + torch.finfo(torch.float32).eps * exact["y"][:, 0].numel()
        assert error <= torch.maximum(tolerance * reference.abs().max(), unavoidable), (name, error, unavoidable)
