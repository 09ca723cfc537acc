"""Part `correctness`: every kernel against the plain one in double precision, twice, and equal to the bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from scan_calls import mixer_arguments, triton_scan
from torch import Tensor

from manticore.kernels import causal_conv1d, selective_scan
from manticore.kernels.backends.chunked.ssd_batched import ssd_scan as batched_ssd
from manticore.kernels.backends.plain.ssd import ssd_scan as plain_ssd
from manticore.kernels.backends.triton.tilings import Tiling
from manticore.kernels.ops import SsdArgs

TOLERANCES = {torch.float32: 1e-5, torch.bfloat16: 1e-2, torch.float16: 2e-3}


def cases(dry: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and options of scans: lengths around a tile, states, dtypes, absent arguments."""
    lanes, lane_steps = (2, 4) if dry else (32, 8)
    sizes = [(9, 3)] if dry else [(1, 16), (31, 1), (256, 3), (257, 64), (500, 128)]
    for length, states in sizes:
        for serial in (True, False):
            tiling = Tiling(2, lanes, lane_steps, serial, 2)
            yield f"L{length} N{states} {tiling.name}", {"length": length, "states": states, "tiling": tiling}
    tiling = Tiling(2, lanes, lane_steps, False, 2)
    base = {"length": 9 if dry else 500, "states": 2 if dry else 16, "tiling": tiling}
    for dtype in (torch.bfloat16,) if dry else (torch.bfloat16, torch.float16):
        yield str(dtype), base | {"dtype": dtype}
    for absent in (("D", "z", "delta_bias"),) if dry else (("z",), ("D", "z", "delta_bias")):
        yield f"without {absent}", base | {"absent": absent}
    for serial in (False,) if dry else (True, False):
        tiling = Tiling(2, lanes, lane_steps, serial, 2)
        options = {"initial": True, "delta_softplus": False, "return_last_state": True}
        yield f"initial and last state, no softplus, {tiling.name}", base | {"tiling": tiling, "options": options}


def outputs(scan: Callable[..., Any], x: dict[str, Tensor], **options: Any) -> list[Tensor]:
    """The output and all gradients for fixed cotangents."""
    leaves = {name: value.detach().requires_grad_() for name, value in x.items()}
    out = scan(**leaves, **options)
    ys = out if isinstance(out, tuple) else (out,)
    generator = torch.Generator().manual_seed(1)
    cotangents = [torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y.device, y.dtype) for y in ys]
    return [*(y.detach() for y in ys), *torch.autograd.grad(ys, list(leaves.values()), cotangents)]


def compare(
    recorder: Any, name: str, fast: Callable[..., Any], plain: Callable[..., Any], x: dict[str, Tensor], **options: Any
) -> None:
    """Write the largest error relative to the norm, and whether a second run has the same bits."""
    first, second = (outputs(fast, x, **options) for _ in range(2))
    exact = outputs(plain, {key: value.double() for key, value in x.items()}, **options)
    errors = [float((a.double() - b).norm() / b.norm().clamp(min=1e-30)) for a, b in zip(first, exact, strict=True)]
    same = all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    tolerance = TOLERANCES[next(iter(x.values())).dtype]
    recorder.row(case=name, error=max(errors), repeats_to_the_bit=same, ok=max(errors) < tolerance and same)


def run(recorder: Any) -> None:
    """Scans, the batched SSD, the convolution, and a scan with more elements than 2^31."""
    torch.use_deterministic_algorithms(True, warn_only=True)  # fills new memory with NaN
    plain = partial(selective_scan, backend="plain")
    for name, case in cases(recorder.dry):
        if not recorder.has_time(20):
            recorder.row(case=name, skipped="no time")
            continue
        batch, width = (1, 3) if recorder.dry else (2, 70)
        dtype = case.get("dtype", torch.float32)
        x = mixer_arguments(batch, width, case["states"], case["length"], dtype, recorder.device)
        x = {key: value for key, value in x.items() if key not in case.get("absent", ())}
        options = {"delta_softplus": True, **case.get("options", {})}
        if options.pop("initial", False):
            x["initial_state"] = torch.randn(batch, width, case["states"], device=recorder.device)
            x["delta"] = x["delta"].detach().exp()
        compare(recorder, f"scan {name}", triton_scan(case["tiling"]), plain, x, **options)
    length = 9 if recorder.dry else 300
    shapes = {"x": (2, length, 4, 8), "dt": (2, length, 4), "A": (4,), "B": (2, length, 2, 16), "C": (2, length, 2, 16)}
    optional = {"D": (4,), "z": (2, length, 4, 8), "dt_bias": (4,), "initial_states": (2, 4, 8, 16)}
    drawn = {name: torch.randn(shape, device=recorder.device) for name, shape in (shapes | optional).items()}
    drawn["A"] = -drawn["A"].abs()
    ssd = {name: drawn[name] for name in shapes}
    sides = [lambda kernel=kernel, **fields: kernel(SsdArgs(**fields)) for kernel in (batched_ssd, plain_ssd)]
    compare(recorder, "ssd batched", *sides, ssd, dt_softplus=True)
    options = {"dt_softplus": True, "dt_limit": (0.1, 2.0), "return_final_states": True}
    compare(recorder, "ssd batched with all arguments", *sides, drawn, **options)
    conv = {"x": torch.randn(2, 8, length, device=recorder.device), "weight": torch.randn(8, 4, device=recorder.device)}
    plain_conv = partial(causal_conv1d, backend="plain")
    compare(recorder, "conv", causal_conv1d, plain_conv, conv, activation="silu")
    conv |= {"bias": torch.randn(8, device=recorder.device), "initial_states": torch.randn(2, 8, 3).to(recorder.device)}
    compare(recorder, "conv with all arguments", causal_conv1d, plain_conv, conv, return_final_states=True)
    beyond_int32(recorder)


def beyond_int32(recorder: Any) -> None:
    """Compare the last sequence of a batch of more than 2^31 elements with the scan of that sequence alone."""
    size = (2, 2, 2, 9) if recorder.dry else (34, 4096, 2, 16384)
    tiling = Tiling(2, 2, 4) if recorder.dry else Tiling()
    x = mixer_arguments(*size, torch.bfloat16, recorder.device)
    with torch.no_grad():
        whole = triton_scan(tiling)(**x, delta_softplus=True)[-1:]
        last = {name: value[-1:] if value.ndim == 3 else value for name, value in x.items()}
        alone = triton_scan(tiling)(**last, delta_softplus=True)
    recorder.row(case=f"{x['u'].numel()} elements", ok=torch.equal(whole, alone))
