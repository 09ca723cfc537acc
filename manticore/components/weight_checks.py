"""Checks that loaded weights are complete, finite, and those of the configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from manticore.errors import ManticoreError

LAYER_INDEX = re.compile(r"\.\d+\.")

PICKLE_PATTERNS = ("*.bin", "*.pt", "*.pth", "*.ckpt")
"""File names of pickled weights, which are never read: a pickle can run any code."""


def pickled_weights(folder: Path) -> str | None:
    """Name of the first file with pickled weights in a folder; None if there is none."""
    return min((file.name for pattern in PICKLE_PATTERNS for file in folder.glob(pattern)), default=None)


def check_weights(source: str, model: PreTrainedModel, loading_info: Mapping[str, Any], strict: bool) -> None:
    """Check the weights that transformers loaded into a model.

    Args:
        source: folder or hub id, for the message.
        model: the loaded model.
        loading_info: transformers' `output_loading_info`, with `ignore_mismatched_sizes=True`.
        strict: no tensor may be unexpected. Otherwise only parameters of layers may not: old checkpoints also store
            buffers.

    Raises ManticoreError with the first tensor that is missing, unexpected, of another shape, or not finite.
    """
    problem = f"{source}: the weights do not match its config.json"
    if loading_info["mismatched_keys"]:
        name, stored, expected = min(loading_info["mismatched_keys"])
        raise ManticoreError(f"{problem}: {name} has the shape {tuple(stored)}, expected {tuple(expected)}")
    if loading_info["missing_keys"]:
        missing = sorted(loading_info["missing_keys"])
        raise ManticoreError(f"{problem}: {len(missing)} of its tensors are missing, the first is {missing[0]}")
    parameters = {LAYER_INDEX.sub(".N.", name) for name, _ in model.named_parameters()}
    unexpected = sorted(
        name for name in loading_info["unexpected_keys"] if strict or LAYER_INDEX.sub(".N.", name) in parameters
    )
    if unexpected:
        raise ManticoreError(f"{problem}: {len(unexpected)} tensors are unexpected, the first is {unexpected[0]}")
    for name, tensor in model.named_parameters():
        values = tensor if type(tensor) is nn.Parameter else tensor.dequantize()
        if not bool(torch.isfinite(values).all()):
            raise ManticoreError(f"{source}: the weights are damaged: {name} has values that are not finite")
