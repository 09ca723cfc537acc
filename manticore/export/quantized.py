"""Quantized hybrids: the weights of segments as integers of torchao, on the grid of the simulated quantization.

torchao's `IntxUnpackedToInt8Tensor` has one scale for each output channel and a symmetric grid, as `nas.bits`. It needs
no kernels: a linear layer multiplies by the rounded values. It keeps a byte for each weight, also at 4 bits; torchao's
packed forms need a GPU or have another grid. Weights that are read without calling their layer outside of training, as
that of Mamba's `dt_proj`, those of convolutions, and those of GPT-2's `Conv1D` stay in full precision, with the rounded
values.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import is_torchao_available

from manticore.errors import ManticoreError
from manticore.modeling.effective_weights import READ_ALWAYS, READ_BY_FUSED_KERNELS
from manticore.nas.bits import FULL, bit_segments, quantize, rounded_layers, to_grid

TORCHAO = "torchao"
"""The only kind of quantized export, by the name of its package."""

INSTALL = "pip install 'manticore-hybrids[quantize]'"


class Quantization(NamedTuple):
    """What was quantized.

    Attributes:
        integers: names of the layers whose weights are integers.
        rounded: classes and names of layers whose weights have rounded values in full precision: `Conv1d conv1d`.
    """

    integers: tuple[str, ...]
    rounded: tuple[str, ...]


def check_torchao(subject: str) -> None:
    """Raise ManticoreError if torchao, which `subject` needs, is not installed; the message has the pip command."""
    if not is_torchao_available():
        raise ManticoreError(f"{subject} needs torchao, which is not installed: {INSTALL}")


def check_loadable(folder: Path, config: Any) -> None:
    """Raise ManticoreError if the model of a folder is quantized with torchao, and torchao is not installed."""
    options = getattr(config, "quantization_config", None)
    if isinstance(options, dict) and options.get("quant_method") == TORCHAO:
        check_torchao(f"the quantized model in {folder}")


def is_quantized(model: nn.Module) -> bool:
    """Whether a model of transformers has quantized weights."""
    return getattr(model.config, "quantization_config", None) is not None


def check_full_precision(model: nn.Module, source: Path | str, purpose: str) -> None:
    """Raise ManticoreError if a model is quantized; `purpose` says what needs full precision."""
    if is_quantized(model):
        raise ManticoreError(f"{source} is quantized; {purpose} needs the hybrid that it was made of")


def quantize_hybrid(hybrid: PreTrainedModel, bits: Sequence[int]) -> Quantization:
    """Quantize the segments of a hybrid in place, and prepare it for `save_pretrained`.

    Args:
        hybrid: a discrete hybrid without adapters.
        bits: of the weights of each stage; at 16 bits they are left as they are.
    """
    from torchao.quantization import FqnToConfig, IntxUnpackedToInt8Tensor, IntxWeightOnlyConfig
    from transformers import TorchAoConfig
    from transformers.quantizers.quantizer_torchao import TorchAoHfQuantizer

    names = {module: name for name, module in hybrid.named_modules()}
    raw = {*hybrid.config.modules_to_not_convert} - ({*READ_BY_FUSED_KERNELS} - {*READ_ALWAYS})
    integers, rounded = dict[int, list[str]](), set[str]()
    for segment, number in bit_segments(hybrid.model.stages, bits):
        for layer, channel in rounded_layers(segment) if number < FULL else ():
            weight, kind = layer.weight.detach(), names[layer].rpartition(".")[2]
            if not isinstance(layer, nn.Linear) or kind in raw:
                layer.weight.data = quantize(weight, number, channel)
                rounded.add(f"{type(layer).__name__} {kind}")
                continue
            points, scale = to_grid(weight, number)
            tensor = IntxUnpackedToInt8Tensor(
                qdata=points.to(torch.int8),
                scale=scale,
                zero_point=torch.zeros_like(scale, dtype=torch.int8),
                target_dtype=getattr(torch, f"int{number}"),
                block_size=(1, weight.shape[1]),
                dtype=weight.dtype,
                activation_quantization=None,
            )
            layer.weight = nn.Parameter(tensor, requires_grad=False)
            integers.setdefault(number, []).append(names[layer])
    rules = OrderedDict(
        (f"re:(?:{'|'.join(map(re.escape, layers))})\\.weight", IntxWeightOnlyConfig(getattr(torch, f"int{number}")))
        for number, layers in integers.items()
    )
    options = TorchAoConfig(FqnToConfig(rules), modules_to_not_convert=sorted(raw))
    hybrid.config.quantization_config = options
    hybrid.hf_quantizer = TorchAoHfQuantizer(options, pre_quantized=True)
    return Quantization(tuple(name for layers in integers.values() for name in layers), tuple(sorted(rounded)))
