"""`auto` takes the fastest backend that can run a call, and gives reasons; CUDA packages get the dtypes they need."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers.integrations import hub_kernels

from manticore.errors import ManticoreError
from manticore.kernels import causal_conv1d, dispatch, hub, selective_scan, serving_backends
from manticore.kernels.dispatch import BACKENDS, OPERATIONS, explain_choice, select_kernel

plain_scan = partial(selective_scan, backend="plain")
plain_conv = partial(causal_conv1d, backend="plain")


@pytest.mark.parametrize("operation", OPERATIONS)
def test_one_backend_is_chosen_for_each_operation(operation: str) -> None:
    reasons = dict(explain_choice(operation, {"x": torch.zeros(1)}))
    assert list(reasons) == list(BACKENDS)
    assert sum(why.startswith("chosen: ") for why in reasons.values()) == 1
    for name, row in BACKENDS.items():
        if operation in row.operations and not set(row.packages) - {"triton"}:
            assert callable(row.load(operation)), name


def test_reasons_against_backends() -> None:
    reasons = dict(explain_choice("selective_scan", {"u": torch.zeros(1)}))
    assert reasons["mamba_ssm"] == "'u' is on cpu; allowed: cuda."
    assert reasons["triton"] == "'u' is on cpu; allowed: cuda."
    assert reasons["cpu"].startswith("chosen: numba loops")
    assert reasons["plain"] == "slower than the one chosen."
    assert dict(explain_choice("selective_scan", {"u": torch.zeros(1).double()}))["plain"].startswith("chosen")
    assert dict(explain_choice("ssd_scan", {"x": torch.zeros(1)}))["cpu"] == "it has no ssd_scan."


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """Calls of functions that replace mamba-ssm and causal-conv1d, and check what those check."""
    calls: list[dict[str, Any]] = []

    def scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, *rest: Any) -> Any:
        D, z, delta_bias, softplus, last = rest
        assert {x.dtype for x in (u, delta, B, C, z)} == {u.dtype}
        assert {x.dtype for x in (A, D, delta_bias)} == {torch.float32}
        calls.append({"scan": u.dtype})
        return plain_scan(u, delta, A, B, C, D, z, delta_bias, softplus, last)

    def conv(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
        assert weight.dtype == x.dtype
        calls.append({"conv": x.dtype})
        return plain_conv(x, weight, bias, activation=activation)

    names: dict[str, dict[str, Any]] = {
        "mamba_ssm": {},
        "mamba_ssm.ops": {},
        "mamba_ssm.ops.selective_scan_interface": {"selective_scan_fn": scan},
        "mamba_ssm.ops.triton": {},
        "mamba_ssm.ops.triton.selective_state_update": {"selective_state_update": None},
        "mamba_ssm.ops.triton.ssd_combined": {"mamba_chunk_scan_combined": None},
        "causal_conv1d": {"causal_conv1d_fn": conv, "causal_conv1d_update": None},
    }
    for name, functions in names.items():
        module = ModuleType(name)
        vars(module).update(functions)
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("mamba_ssm", "causal_conv1d"):
        monkeypatch.delitem(sys.modules, f"manticore.kernels.backends.cuda.{name}", raising=False)
        on_any_device = dispatch.Backend(**{**vars(BACKENDS[name]), "devices": None})
        monkeypatch.setitem(BACKENDS, name, on_any_device)
    monkeypatch.setattr(dispatch, "importable", lambda package: True)
    yield calls
    for name in ("mamba_ssm", "causal_conv1d"):
        sys.modules.pop(f"manticore.kernels.backends.cuda.{name}", None)


def test_the_build_of_the_hub_comes_before_the_package(
    stand_ins: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def built(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
        calls.append("hub")
        return plain_conv(x, weight, bias, activation=activation)

    build = ModuleType("build")
    vars(build).update(causal_conv1d_fn=built, causal_conv1d_update=None)
    monkeypatch.setattr(hub, "hub_module", lambda package: build if package == "causal_conv1d" else None)
    x, weight = torch.randn(1, 3, 5), torch.randn(3, 4)
    assert torch.equal(causal_conv1d(x, weight, backend="causal_conv1d"), plain_conv(x, weight))
    assert calls == ["hub"]
    assert stand_ins == []


def test_the_build_is_the_one_of_transformers_table(monkeypatch: pytest.MonkeyPatch) -> None:
    class Layer(torch.nn.Module):
        def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None = None, activation: str | None = None) -> Any:
            return plain_conv(x, weight, bias, activation=activation)

    class Repository:
        def load(self) -> type[torch.nn.Module]:
            return Layer

    build, layers = ModuleType("_mamba_ssm_cuda_1"), ModuleType("_mamba_ssm_cuda_1.layers")
    Layer.__module__ = layers.__name__
    vars(layers).update(causal_conv1d_fn=Layer)
    vars(build).update(layers=layers, selective_scan_fn=plain_scan)
    monkeypatch.setitem(sys.modules, build.__name__, build)
    modes = {"training": Repository(), "inference": Repository()}
    table = {name: {"cuda": modes} for name in ("selective_scan_fn", "causal_conv1d_fn")}
    monkeypatch.setattr(hub_kernels, "get_kernel_mapping_transformers", lambda: table, raising=False)
    monkeypatch.setattr(hub, "find_spec", lambda name: name)
    try:
        hub.hub_module.cache_clear()
        assert hub.package_function("mamba_ssm", "ops.selective_scan_interface.selective_scan_fn") is plain_scan
        x, weight = torch.randn(1, 3, 5), torch.randn(3, 4)
        conv = hub.package_function("causal_conv1d", "causal_conv1d_fn")
        assert torch.equal(conv(x, weight, activation="silu"), plain_conv(x, weight, activation="silu"))
    finally:
        hub.hub_module.cache_clear()


def test_transformers_table_has_the_builds() -> None:
    """The table itself can only be built with the package `kernels`."""
    source = inspect.getsource(hub_kernels)
    assert "def get_kernel_mapping_transformers(" in source
    for name in hub.HUB_LAYERS.values():
        assert re.search(rf'"{name}": \{{\s+"cuda": \{{\s+Mode\.TRAINING: LayerRepository\(', source), name


def test_without_the_package_kernels_there_is_no_build() -> None:
    assert hub.hub_module("mamba_ssm") is None
    assert hub.hub_module("triton") is None


def test_the_backends_that_serve_a_cpu() -> None:
    serving = serving_backends("cpu")
    assert serving["selective_scan"] == serving["causal_conv1d"] == "cpu"
    assert serving["ssd_scan"] == "chunked"


def scan_tensors() -> dict[str, Tensor]:
    torch.manual_seed(0)
    shapes = {"u": (2, 3, 5), "delta": (2, 3, 5), "A": (3, 4), "B": (2, 4, 5), "C": (2, 4, 5), "z": (2, 3, 5)}
    return {name: torch.randn(shape) for name, shape in shapes.items()} | {
        "D": torch.ones(3),
        "delta_bias": torch.ones(3),
    }


def test_mamba_ssm_gets_one_dtype_and_single_precision_constants(stand_ins: list[dict[str, Any]]) -> None:
    x = scan_tensors()
    x |= {"u": x["u"].bfloat16(), "D": x["D"].bfloat16()}
    y, _ = selective_scan(**x, delta_softplus=True, return_last_state=True)
    assert stand_ins == [{"scan": torch.bfloat16}]
    torch.testing.assert_close(y.float(), plain_scan(**x, delta_softplus=True).float(), atol=0.1, rtol=0.1)


def test_calls_that_mamba_ssm_cannot_run_use_another_backend(stand_ins: list[dict[str, Any]]) -> None:
    x = scan_tensors()
    selective_scan(**x, initial_state=torch.zeros(2, 3, 4))
    x["u"].requires_grad_()
    selective_scan(**x, return_last_state=True)
    assert not stand_ins
    selective_scan(**x)
    assert stand_ins
    with pytest.raises(
        ManticoreError, match="backend 'mamba_ssm' cannot run this selective_scan: it does not support init"
    ):
        selective_scan(**x, initial_state=torch.zeros(2, 3, 4), backend="mamba_ssm")
    with pytest.raises(ManticoreError, match="'A' has 300 states; allowed: at most 256"):
        select_kernel("selective_scan", "mamba_ssm", {"A": torch.zeros(3, 300)})


def test_calls_that_causal_conv1d_cannot_run_use_another_backend(stand_ins: list[dict[str, Any]]) -> None:
    x = torch.randn(2, 3, 9)
    torch.testing.assert_close(causal_conv1d(x, torch.ones(3, 4)), plain_conv(x, torch.ones(3, 4)))
    assert stand_ins == [{"conv": torch.float32}]
    causal_conv1d(x, torch.ones(3, 7))
    causal_conv1d(x, torch.ones(3, 4), return_final_states=True)
    assert len(stand_ins) == 1
    with pytest.raises(ManticoreError, match="'weight' has a kernel of 7; allowed: 2 to 4"):
        causal_conv1d(x, torch.ones(3, 7), backend="causal_conv1d")


def test_a_backend_of_another_device_is_refused() -> None:
    with pytest.raises(ManticoreError, match="'u' is on cpu; allowed: cuda"):
        selective_scan(**scan_tensors(), backend="mamba_ssm")
    assert not dispatch.importable("a_package_that_is_not_there")
