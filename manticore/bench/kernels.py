"""The cases of `manticore bench kernels`: kernels of this package against those of transformers and mambapy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from manticore import kernels
from manticore.bench.timing import Thunk

THIS_PACKAGE = "manticore"
"""Name of the implementation of this package in every case."""

Size = Mapping[str, int]

Setup = Callable[[Size], Thunk]
"""Prepares one implementation of a case at a size; the returned thunk runs it forward and backward."""

_HEADS = 8


@dataclass(frozen=True)
class SpeedTarget:
    """Expected results of this package compared with another implementation.

    Attributes:
        speedup: smallest expected quotient of the other implementation's time and this package's; None: no target.
        memory: largest expected share of the other implementation's peak memory; None: no target.
    """

    speedup: float | None = None
    memory: float | None = None


@dataclass(frozen=True)
class Case:
    """A comparison of implementations of an operation or a model.

    Attributes:
        name: name in the table and on the command line.
        about: description in one line.
        sides: set-up functions of the implementations by name; the first is that of this package.
        full: size at which published figures are measured.
        quick: tiny size, for a check that the case runs.
        targets: targets by the name of the other implementation.
        needs: required package by the name of the implementation.
    """

    name: str
    about: str
    sides: Mapping[str, Setup]
    full: Size
    quick: Size
    targets: Mapping[str, SpeedTarget] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)

    def size(self, quick: bool) -> Size:
        """The quick or the full size."""
        return self.quick if quick else self.full


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def _with_grad(args: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: x.requires_grad_() for name, x in args.items()}


def _forward_backward(run: Any, args: dict[str, Tensor]) -> Thunk:
    """A thunk that runs forward and backward and deletes the gradients of `args`."""

    def thunk() -> None:
        out = run()
        out.backward(torch.ones_like(out))
        for x in args.values():
            x.grad = None

    return thunk


def _scan_args(size: Size) -> dict[str, Tensor]:
    batch, width, length, state = (size[name] for name in ("batch", "width", "length", "state"))
    args = {
        "u": _normal(batch, width, length),
        "delta": _normal(batch, width, length) - 2,
        "A": -torch.arange(1.0, state + 1).repeat(width, 1),
        "B": _normal(batch, state, length),
        "C": _normal(batch, state, length),
        "D": torch.ones(width),
        "z": _normal(batch, width, length),
        "delta_bias": _normal(width),
    }
    return _with_grad(args)


def setup_scan(size: Size) -> Thunk:
    """Our selective scan."""
    args: dict[str, Any] = _scan_args(size)
    return _forward_backward(lambda: kernels.selective_scan(**args, delta_softplus=True), args)


def _modeling_mamba() -> Any:
    """transformers' module of Mamba, after the Auto classes, whose import registers manticore's own."""
    import_module("transformers.models.auto.modeling_auto")
    return import_module("transformers.models.mamba.modeling_mamba")


def _setup_transformers_scan(size: Size, **options: bool) -> Thunk:
    mamba_selective_scan = _modeling_mamba().mamba_selective_scan

    args = _scan_args(size)
    u, delta, A, B, C = (args[name] for name in ("u", "delta", "A", "B", "C"))
    rest = {name: args[name] for name in ("D", "z", "delta_bias")}
    return _forward_backward(
        lambda: mamba_selective_scan(u, delta, A, B, C, **rest, delta_softplus=True, **options), args
    )


def _setup_mambapy_scan(size: Size) -> Thunk:
    return _setup_transformers_scan(size, use_mambapy=True)


def _conv_args(size: Size) -> dict[str, Tensor]:
    batch, width, length = (size[name] for name in ("batch", "width", "length"))
    return _with_grad({"x": _normal(batch, length, width).mT, "weight": _normal(width, 4), "bias": _normal(width)})


def _setup_conv(size: Size) -> Thunk:
    args: dict[str, Any] = _conv_args(size)
    return _forward_backward(lambda: kernels.causal_conv1d(**args, activation="silu"), args)


def _setup_transformers_conv(size: Size) -> Thunk:
    causal_conv1d_fn = _modeling_mamba().causal_conv1d_fn

    args = _conv_args(size)
    return _forward_backward(lambda: causal_conv1d_fn(args["x"], args["weight"], args["bias"], activation="silu"), args)


def _ssd_args(size: Size) -> dict[str, Tensor]:
    batch, length, heads, head, state = (size[name] for name in ("batch", "length", "heads", "head", "state"))
    args = {
        "x": _normal(batch, length, heads, head),
        "dt": _normal(batch, length, heads),
        "A": -torch.arange(1.0, heads + 1),
        "B": _normal(batch, length, 1, state),
        "C": _normal(batch, length, 1, state),
        "D": torch.ones(heads),
        "dt_bias": _normal(heads) - 3,
    }
    return _with_grad(args)


def _setup_ssd(size: Size) -> Thunk:
    args: dict[str, Any] = _ssd_args(size)
    return _forward_backward(lambda: kernels.ssd_scan(**args, dt_softplus=True), args)


def _setup_transformers_ssd(size: Size) -> Thunk:
    from transformers.models.mamba2.modeling_mamba2 import mamba2_chunk_scan

    args: dict[str, Any] = _ssd_args(size)
    sequences, rest = list(args.values())[:5], {"D": args["D"], "dt_bias": args["dt_bias"], "dt_softplus": True}
    return _forward_backward(lambda: mamba2_chunk_scan(*sequences, chunk_size=min(256, size["length"]), **rest), args)


def _model_step(model: nn.Module, size: Size) -> Thunk:
    """Forward and backward of a backbone on random embeddings."""
    x_BLD = _normal(size["batch"], size["length"], size["width"])
    model.train()

    def thunk() -> None:
        model(inputs_embeds=x_BLD, use_cache=False)[0].square().mean().backward()
        model.zero_grad(set_to_none=True)

    return thunk


def _with_our_kernels(run: Thunk) -> Thunk:
    def thunk() -> None:
        with kernels.installed():
            run()

    return thunk


def _mamba(size: Size, mambapy: bool = False) -> Any:
    from transformers import MambaConfig, MambaModel

    torch.manual_seed(0)
    sizes = {"hidden_size": size["width"], "num_hidden_layers": size["layers"], "state_size": size["state"]}
    return MambaModel(MambaConfig(vocab_size=16, use_mambapy=mambapy, **sizes))


def _setup_mamba(size: Size) -> Thunk:
    return _with_our_kernels(_model_step(_mamba(size), size))


def _setup_mambapy_mamba(size: Size) -> Thunk:
    return _model_step(_mamba(size, mambapy=True), size)


def _gpt_neo(size: Size) -> Any:
    from transformers import GPTNeoConfig, GPTNeoModel

    torch.manual_seed(0)
    sizes = {"hidden_size": size["width"], "num_layers": size["layers"], "num_heads": _HEADS}
    context = {"max_position_embeddings": size["length"], "window_size": 256}
    attention_types = [[["global", "local"], size["layers"] // 2]]
    return GPTNeoModel(GPTNeoConfig(vocab_size=16, attention_types=attention_types, **sizes, **context))


def _setup_gpt_neo(size: Size) -> Thunk:
    return _with_our_kernels(_model_step(_gpt_neo(size), size))


def _setup_transformers_gpt_neo(size: Size) -> Thunk:
    return _model_step(_gpt_neo(size), size)


SCAN = {"batch": 2, "width": 1024, "state": 16}
"""The size of a scan without its length."""

_SMALL = {"batch": 1, "width": 32, "length": 64, "state": 4}

CASES = (
    Case(
        "scan",
        "selective scan, forward and backward, against mambapy's parallel scan",
        {THIS_PACKAGE: setup_scan, "mambapy": _setup_mambapy_scan},
        full={**SCAN, "length": 2048},
        quick=_SMALL,
        targets={"mambapy": SpeedTarget(speedup=7, memory=1 / 3)},
        needs={"mambapy": "mambapy"},
    ),
    Case(
        "scan-default",
        "selective scan, forward and backward, against transformers' default loop",
        {THIS_PACKAGE: setup_scan, "transformers": _setup_transformers_scan},
        full={**SCAN, "length": 512},
        quick=_SMALL,
        targets={"transformers": SpeedTarget(speedup=150)},
    ),
    Case(
        "mamba-step",
        "a whole Mamba, forward and backward, against the same with mambapy",
        {THIS_PACKAGE: _setup_mamba, "mambapy": _setup_mambapy_mamba},
        full={"batch": 2, "width": 256, "length": 2000, "state": 16, "layers": 12},
        quick={**_SMALL, "layers": 2},
        targets={"mambapy": SpeedTarget(speedup=8)},
        needs={"mambapy": "mambapy"},
    ),
    Case(
        "gpt-neo-step",
        "a whole GPT-Neo, forward and backward, against transformers' eager attention",
        {THIS_PACKAGE: _setup_gpt_neo, "transformers": _setup_transformers_gpt_neo},
        full={"batch": 2, "width": 512, "length": 2000, "layers": 6},
        quick={"batch": 1, "width": 32, "length": 64, "layers": 2},
        targets={"transformers": SpeedTarget(speedup=1.6)},
    ),
    Case(
        "ssd",
        "Mamba-2's scan, forward and backward, against transformers' own",
        {THIS_PACKAGE: _setup_ssd, "transformers": _setup_transformers_ssd},
        full={"batch": 2, "length": 2048, "heads": 16, "head": 64, "state": 64},
        quick={"batch": 1, "length": 64, "heads": 2, "head": 8, "state": 4},
    ),
    Case(
        "conv",
        "causal convolution with SiLU, forward and backward, against transformers' own",
        {THIS_PACKAGE: _setup_conv, "transformers": _setup_transformers_conv},
        full={"batch": 2, "width": 512, "length": 2000},
        quick=_SMALL,
    ),
)
