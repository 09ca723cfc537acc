"""The Triton scan agrees with the plain one in double precision, on a GPU or else in Triton's interpreter.

Triton reads TRITON_INTERPRET at import, and other tests import it. `test_checks` therefore runs the `check_*` functions
of this file in another process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from packaging.version import Version
from torch import Tensor

from manticore.kernels.ops import ScanArgs
from tests.helpers.scan_cases import Arguments, arguments, assert_close, double, plain_scan, results

pytestmark = pytest.mark.slow

triton = pytest.importorskip("triton")

CUDA = torch.cuda.is_available()
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = "cuda" if CUDA and not INTERPRETED else "cpu"


@pytest.mark.skipif(
    not CUDA and Version(triton.__version__) < Version("3.9") and Version(numpy.__version__) >= Version("2.4"),
    reason="the interpreter of Triton 3.6 converts arrays of one element to numbers, which NumPy 2.4 refuses",
)
def test_checks() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-o", "python_functions=check_*", __file__]
    environment = dict(os.environ) if CUDA else {**os.environ, "TRITON_INTERPRET": "1"}
    environment = {name: value for name, value in environment.items() if not name.startswith("PYTEST")}
    done = subprocess.run(command, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-6000:]


def test_import_needs_no_gpu() -> None:
    probe = "import os; os.environ.pop('TRITON_INTERPRET', None); import manticore.kernels.backends.triton.scan"
    assert subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


@pytest.fixture(autouse=True, scope="module")
def fast_interpreter() -> Iterator[None]:
    """Scans and reductions of the interpreter over all lanes at once; Triton's own processes one lane after another."""
    if not INTERPRETED:
        yield
        return
    import numpy as np
    from triton.runtime.interpreter import ReduceOps, ScanOps

    def fold(op: Any, operands: Any) -> list[tuple[Any, ...]]:
        def at(i: int) -> tuple[Any, ...]:
            return tuple(op.to_tensor(np.take(x.handle.data, i, op.axis), x.dtype) for x in operands)

        folded = [at(0)]
        for i in range(1, operands[0].handle.data.shape[op.axis]):
            combined = op.combine_fn.fn(*folded[-1], *at(i))
            folded.append(combined if isinstance(combined, tuple) else (combined,))
        return folded

    def scan(op: Any, operands: Any) -> list[Any]:
        columns = zip(*fold(op, operands), strict=True)
        stacked = (np.stack([x.handle.data for x in column], op.axis) for column in columns)
        return [op.to_tensor(column, x.dtype) for column, x in zip(stacked, operands, strict=True)]

    def reduce(op: Any, operands: Any) -> list[Any]:
        last = (x.handle.data for x in fold(op, operands)[-1])
        values = (np.expand_dims(x, op.axis) if op.keep_dims else x for x in last)
        return [op.to_tensor(value, x.dtype) for value, x in zip(values, operands, strict=True)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScanOps, "generic_scan", scan)
        patch.setattr(ReduceOps, "generic_reduce", reduce)
        yield


def tiled_scan(serial: bool) -> Any:
    """The scan in tiles of 2 by 8, so that the tensors of this file have several, and in two groups of channels."""
    from manticore.kernels.backends.triton.scan import Tiling, selective_scan

    def scan(**inputs: Any) -> Any:
        tensors = {name: x.to(DEVICE) if isinstance(x, Tensor) else x for name, x in inputs.items()}
        out = selective_scan(ScanArgs(**tensors), Tiling(2, 2, 4, serial, 2))
        return tuple(x.cpu() for x in out) if isinstance(out, tuple) else out.cpu()

    return scan


@st.composite
def small_arguments(draw: st.DrawFn, dtype: torch.dtype = torch.float32) -> Arguments:
    """Slices of the arguments of `scan_cases`, with their strides, with sizes around the edges of a tile of 2 by 8."""
    drawn = draw(arguments(dtype=dtype))
    batch, width = draw(st.sampled_from([(1, 1), (2, 3), (1, 4)]), label="batch, width")
    length, state = draw(st.sampled_from([(1, 3), (8, 1), (9, 2), (19, 2)]), label="length, state")
    sequence, projection = (batch, width, length), (batch, state, length)
    sizes = {"A": (width, state), "B": projection, "C": projection, "D": (width,), "delta_bias": (width,)}
    sizes |= {"initial_state": (batch, width, state)}
    return {name: x[tuple(map(slice, sizes.get(name, sequence)))] for name, x in drawn.items()}


@settings(max_examples=8, deadline=None)
@given(small_arguments(), st.booleans())
def check_single_precision(x: Arguments, serial: bool) -> None:
    exact, rounded = results(plain_scan, double(x)), results(plain_scan, x)
    assert_close(results(tiled_scan(serial), x), exact, rounded, 1e-5)


@settings(max_examples=3, deadline=None)
@given(small_arguments(dtype=torch.bfloat16), st.booleans())
def check_half_precision(x: Arguments, serial: bool) -> None:
    exact, rounded = results(plain_scan, double(x)), results(plain_scan, x)
    fast = results(tiled_scan(serial), x)
    assert fast["y"].dtype == torch.bfloat16
    assert fast["last"].dtype == torch.float32
    assert_close(fast, exact, rounded, 2e-2)


@settings(max_examples=3, deadline=None)
@given(small_arguments(), st.booleans())
def check_where_delta_is_the_step(x: Arguments, serial: bool) -> None:
    x["delta"] = x["delta"].exp()
    x.pop("delta_bias", None)
    exact, rounded = (results(plain_scan, v, softplus=False) for v in (double(x), x))
    assert_close(results(tiled_scan(serial), x, softplus=False), exact, rounded, 1e-5)


def all_arguments(dtype: torch.dtype = torch.float32) -> Arguments:
    """All arguments, with two blocks of channels and three tiles of steps, the last of each not full."""
    torch.manual_seed(1)
    batch, width, length, state = 2, 3, 19, 2
    sequence, projection, channels = (batch, width, length), (batch, state, length), (width,)
    shapes = {"u": sequence, "delta": sequence, "A": (width, state), "B": projection, "C": projection, "D": channels}
    shapes |= {"z": sequence, "delta_bias": channels, "initial_state": (batch, width, state)}
    x = {name: torch.randn(shape).to(dtype) for name, shape in shapes.items()}
    return x | {"A": -x["A"].abs()}


both = pytest.mark.parametrize("serial", [True, False])


@both
def check_half_precision_fp16(serial: bool) -> None:
    x = all_arguments(torch.float16)
    exact, rounded = results(plain_scan, double(x)), results(plain_scan, x)
    fast = results(tiled_scan(serial), x)
    assert fast["y"].dtype == torch.float16
    assert_close(fast, exact, rounded, 2e-3)


@both
def check_the_last_state_alone_has_a_gradient(serial: bool) -> None:
    x = {name: value.requires_grad_() for name, value in all_arguments().items()}
    inputs = [x[name] for name in ("u", "delta", "A", "B", "initial_state")]
    scans = (tiled_scan(serial), plain_scan)
    lasts = [scan(**x, delta_softplus=True, return_last_state=True)[1] for scan in scans]
    pairs = zip(*(torch.autograd.grad(last.sum(), inputs) for last in lasts), strict=True)
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5 * b.abs().max().item()) for a, b in pairs)


@both
@pytest.mark.parametrize("name", ["u", "delta", "A", "B", "C", "z"])
def check_a_nan_reaches_the_output(name: str, serial: bool) -> None:
    x = all_arguments()
    x[name].select(-1, 1).fill_(torch.nan)
    assert torch.equal(tiled_scan(serial)(**x).isnan(), plain_scan(**x).isnan())


@both
def check_infinite_decay_gives_no_nan(serial: bool) -> None:
    x = all_arguments()
    x["delta"] = x["delta"].abs() * 1e4
    x["A"][:, 1] = -torch.inf
    values = results(tiled_scan(serial), x)
    values.pop("delta"), values.pop("A")  # these gradients have A as a factor
    assert all(value.isfinite().all() for value in values.values())


@both
def check_results_are_bit_identical_with_and_without_saved_states(serial: bool) -> None:
    x = all_arguments()
    first, second = results(tiled_scan(serial), x), results(tiled_scan(serial), x)
    assert all(torch.equal(first[name], second[name]) for name in first)
    y, last = tiled_scan(serial)(**x, delta_softplus=True, return_last_state=True)
    assert torch.equal(y, first["y"])
    assert torch.equal(last, first["last"])


def check_strides_do_not_matter() -> None:
    x = all_arguments()
    strided = {name: torch.stack([v, v], -1).transpose(0, -2)[..., 0].transpose(0, -1) for name, v in x.items()}
    strided["u"] = x["u"][:, :, :1].expand(-1, -1, 19)
    packed = {name: v.contiguous() for name, v in strided.items()}
    from_strided, from_packed = (results(tiled_scan(True), v) for v in (strided, packed))
    assert all(torch.equal(from_strided[name], from_packed[name]) for name in from_packed)


def check_inputs_without_gradient_get_none() -> None:
    x = all_arguments()
    x["u"].requires_grad_()
    tiled_scan(True)(**x).sum().backward()
    assert x["u"].grad is not None
    assert x["B"].grad is None


def check_a_scan_of_no_given_tiling() -> None:
    from manticore.kernels.backends.triton.scan import selective_scan

    x = {name: value.to(DEVICE) for name, value in all_arguments().items()}
    y = selective_scan(ScanArgs(**x, delta_softplus=True))
    assert isinstance(y, Tensor)
    torch.testing.assert_close(y, plain_scan(**x, delta_softplus=True), atol=1e-5, rtol=1e-5)
