"""The cases of `manticore bench kernels`: our kernels against what transformers runs without them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from manticore import kernels
from manticore.bench.case import Case, Promise, Size
from manticore.bench.timing import Thunk

_HEADS = 8


def _normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def _leaves(given: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: x.requires_grad_() for name, x in given.items()}


def _scan_arguments(size: Size) -> dict[str, Tensor]:
    batch, width, length, state = (size[name] for name in ("batch", "width", "length", "state"))
    given = {
        "u": _normal(batch, width, length),
        "delta": _normal(batch, width, length) - 2,
        "A": -torch.arange(1.0, state + 1).repeat(width, 1),
        "B": _normal(batch, state, length),
        "C": _normal(batch, state, length),
        "D": torch.ones(width),
        "z": _normal(batch, width, length),
        "delta_bias": _normal(width),
    }
    return _leaves(given)


def _trained(run: Any, leaves: dict[str, Tensor]) -> Thunk:
    """Forward and backward of `run`, as one thunk that leaves no gradient behind."""

    def both() -> None:
        out = run()
        out.backward(torch.ones_like(out))
        for x in leaves.values():
            x.grad = None

    return both


def our_scan(size: Size) -> Thunk:
    """Our selective scan, forward and backward."""
    given: dict[str, Any] = _scan_arguments(size)
    return _trained(lambda: kernels.selective_scan(**given, delta_softplus=True), given)


def _their_scan(size: Size, **options: bool) -> Thunk:
    from transformers.models.mamba.modeling_mamba import mamba_selective_scan

    given = _scan_arguments(size)
    u, delta, A, B, C = (given[name] for name in ("u", "delta", "A", "B", "C"))
    rest = {name: given[name] for name in ("D", "z", "delta_bias")}
    return _trained(lambda: mamba_selective_scan(u, delta, A, B, C, **rest, delta_softplus=True, **options), given)


def _mambapy_scan(size: Size) -> Thunk:
    return _their_scan(size, use_mambapy=True)


def _conv_arguments(size: Size) -> dict[str, Tensor]:
    batch, width, length = (size[name] for name in ("batch", "width", "length"))
    return _leaves({"x": _normal(batch, length, width).mT, "weight": _normal(width, 4), "bias": _normal(width)})


def _our_conv(size: Size) -> Thunk:
    given: dict[str, Any] = _conv_arguments(size)
    return _trained(lambda: kernels.causal_conv1d(**given, activation="silu"), given)


def _their_conv(size: Size) -> Thunk:
    from transformers.models.mamba.modeling_mamba import causal_conv1d_fn

    given = _conv_arguments(size)
    return _trained(lambda: causal_conv1d_fn(given["x"], given["weight"], given["bias"], activation="silu"), given)


def _ssd_arguments(size: Size) -> dict[str, Tensor]:
    batch, length, heads, head, state = (size[name] for name in ("batch", "length", "heads", "head", "state"))
    given = {
        "x": _normal(batch, length, heads, head),
        "dt": _normal(batch, length, heads),
        "A": -torch.arange(1.0, heads + 1),
        "B": _normal(batch, length, 1, state),
        "C": _normal(batch, length, 1, state),
        "D": torch.ones(heads),
        "dt_bias": _normal(heads) - 3,
    }
    return _leaves(given)


def _our_ssd(size: Size) -> Thunk:
    given: dict[str, Any] = _ssd_arguments(size)
    return _trained(lambda: kernels.ssd_scan(**given, dt_softplus=True), given)


def _their_ssd(size: Size) -> Thunk:
    from transformers.models.mamba2.modeling_mamba2 import mamba2_chunk_scan

    given: dict[str, Any] = _ssd_arguments(size)
    along, rest = list(given.values())[:5], {"D": given["D"], "dt_bias": given["dt_bias"], "dt_softplus": True}
    return _trained(lambda: mamba2_chunk_scan(*along, chunk_size=min(256, size["length"]), **rest), given)


def _step(model: nn.Module, size: Size) -> Thunk:
    """Forward and backward of a backbone on random features."""
    stream = _normal(size["batch"], size["length"], size["width"])
    model.train()

    def both() -> None:
        model(inputs_embeds=stream, use_cache=False)[0].square().mean().backward()
        model.zero_grad(set_to_none=True)

    return both


def _lent(run: Thunk) -> Thunk:
    def inside() -> None:
        with kernels.installed():
            run()

    return inside


def _mamba(size: Size, mambapy: bool = False) -> Any:
    from transformers import MambaConfig, MambaModel

    torch.manual_seed(0)
    sizes = {"hidden_size": size["width"], "num_hidden_layers": size["layers"], "state_size": size["state"]}
    return MambaModel(MambaConfig(vocab_size=16, use_mambapy=mambapy, **sizes))


def _our_mamba(size: Size) -> Thunk:
    return _lent(_step(_mamba(size), size))


def _mambapy_mamba(size: Size) -> Thunk:
    return _step(_mamba(size, mambapy=True), size)


def _gpt_neo(size: Size) -> Any:
    from transformers import GPTNeoConfig, GPTNeoModel

    torch.manual_seed(0)
    sizes = {"hidden_size": size["width"], "num_layers": size["layers"], "num_heads": _HEADS}
    reach = {"max_position_embeddings": size["length"], "window_size": 256}
    kinds = [[["global", "local"], size["layers"] // 2]]
    return GPTNeoModel(GPTNeoConfig(vocab_size=16, attention_types=kinds, **sizes, **reach))


def _our_gpt_neo(size: Size) -> Thunk:
    return _lent(_step(_gpt_neo(size), size))


def _their_gpt_neo(size: Size) -> Thunk:
    return _step(_gpt_neo(size), size)


SCAN = {"batch": 2, "width": 1024, "state": 16}
_SMALL = {"batch": 1, "width": 32, "length": 64, "state": 4}

CASES = (
    Case(
        "scan",
        "selective scan, forward and backward, against mambapy's parallel scan",
        {"ours": our_scan, "mambapy": _mambapy_scan},
        full={**SCAN, "length": 2048},
        quick=_SMALL,
        promises={"mambapy": Promise(time=7, memory=1 / 3)},
        needs={"mambapy": "mambapy"},
    ),
    Case(
        "scan-default",
        "selective scan, forward and backward, against transformers' default loop",
        {"ours": our_scan, "transformers": _their_scan},
        full={**SCAN, "length": 512},
        quick=_SMALL,
        promises={"transformers": Promise(time=150)},
    ),
    Case(
        "mamba-step",
        "a whole Mamba, forward and backward, against the same with mambapy",
        {"ours": _our_mamba, "mambapy": _mambapy_mamba},
        full={"batch": 2, "width": 256, "length": 2000, "state": 16, "layers": 12},
        quick={**_SMALL, "layers": 2},
        promises={"mambapy": Promise(time=8)},
        needs={"mambapy": "mambapy"},
    ),
    Case(
        "gpt-neo-step",
        "a whole GPT-Neo, forward and backward, against transformers' eager attention",
        {"ours": _our_gpt_neo, "transformers": _their_gpt_neo},
        full={"batch": 2, "width": 512, "length": 2000, "layers": 6},
        quick={"batch": 1, "width": 32, "length": 64, "layers": 2},
        promises={"transformers": Promise(time=1.6)},
    ),
    Case(
        "ssd",
        "Mamba-2's scan, forward and backward, against transformers' own",
        {"ours": _our_ssd, "transformers": _their_ssd},
        full={"batch": 2, "length": 2048, "heads": 16, "head": 64, "state": 64},
        quick={"batch": 1, "length": 64, "heads": 2, "head": 8, "state": 4},
    ),
    Case(
        "conv",
        "causal convolution with SiLU, forward and backward, against transformers' own",
        {"ours": _our_conv, "transformers": _their_conv},
        full={"batch": 2, "width": 512, "length": 2000},
        quick=_SMALL,
    ),
)
