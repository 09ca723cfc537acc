"""Weights that transformers' Mamba reads without calling their module, where an adapter or a quantized layer runs.

`dt_proj.weight` is read in every path, `x_proj.weight` and `out_proj.weight` by fused CUDA kernels. A module in place
of such a linear map, as peft and bitsandbytes install, would have no effect there. While the layers run, it is replaced
by a linear map with its effective weight, through which its parameters get their gradients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

READ_ALWAYS, READ_BY_FUSED_KERNELS = ("dt_proj",), ("dt_proj", "x_proj", "out_proj")

CONVOLUTION = "conv1d"
"""The convolution of a mixer, whose weight kernels read, and steps with a cache."""


class EffectiveLinear(nn.Module):
    """The linear map that a module computes, as a weight and a bias."""

    def __init__(self, module: nn.Module, features: int, like: Tensor) -> None:
        super().__init__()
        zero = torch.zeros(1, features, dtype=like.dtype, device=like.device)
        offset = module(zero).squeeze(0)
        self.weight = (module(torch.eye(features, dtype=like.dtype, device=like.device)) - offset).T
        self.bias = offset

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


@contextmanager
def effective_weights(mixers: Sequence[nn.Module], x_BLD: Tensor) -> Iterator[None]:
    """Replace linear maps whose weights are read, if another module is in their place, in a block that runs `x_BLD`.

    `mixers` are those of the layers that run. Raises ValueError for an adapter on a convolution, which would be dead.
    """
    replaced: list[tuple[nn.Module, str, nn.Module]] = []
    for mixer in mixers:
        if hasattr(mixer._modules.get(CONVOLUTION), "base_layer"):
            raise ValueError(
                f"the weight of '{CONVOLUTION}' is read without calling the module, so an adapter on it would have no "
                f"effect and no gradient; leave '{CONVOLUTION}' out of target_modules"
            )
        names = READ_BY_FUSED_KERNELS if mixer.training and x_BLD.device.type != "cpu" else READ_ALWAYS
        for name in names:
            module = mixer._modules.get(name)
            if module is not None and type(module) is not nn.Linear and not _has_effective_weight(module):
                replaced.append((mixer, name, module))
    for mixer, name, module in replaced:
        features: Any = module.in_features
        mixer._modules[name] = EffectiveLinear(module, features, x_BLD)
    try:
        yield
    finally:
        for mixer, name, module in replaced:
            mixer._modules[name] = module


def _has_effective_weight(module: nn.Module) -> bool:
    """Whether the weight of a module is computed when it is read, as with an adapter of manticore.

    peft's layers have a property `weight` too, but it is the weight of the layer below, without the adapter.
    """
    return isinstance(getattr(type(module), "weight", None), property) and "weight" in module._parameters
