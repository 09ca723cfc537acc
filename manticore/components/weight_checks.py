"""Whether weights that were read are the ones a configuration asks for. Knows nothing of where they lie."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel

from manticore.errors import ManticoreError

LAYER = re.compile(r"\.\d+\.")


def check_weights(place: str, model: PreTrainedModel, told: Mapping[str, Any], strict: bool) -> None:
    """Raises ManticoreError, naming the first tensor, unless the weights at `place` are the model's.

    Args:
        place: folder or hub id, for the message.
        model: what was read.
        told: what transformers says of the reading (`output_loading_info`, with `ignore_mismatched_sizes`).
        strict: no tensor may be left over. Else those of layers may not; old checkpoints hold buffers beside.
    """
    other = f"{place}: the weights are not those of its config.json"
    if told["mismatched_keys"]:
        name, given, wanted = min(told["mismatched_keys"])
        raise ManticoreError(f"{other}: {name} is {tuple(given)}, where {tuple(wanted)} is asked for")
    if told["missing_keys"]:
        missing = sorted(told["missing_keys"])
        raise ManticoreError(f"{other}: they lack {len(missing)} tensors, the first is {missing[0]}")
    numbers = {LAYER.sub(".N.", name) for name, _ in model.named_parameters()}
    extra = sorted(name for name in told["unexpected_keys"] if strict or LAYER.sub(".N.", name) in numbers)
    if extra:
        raise ManticoreError(f"{other}: {len(extra)} tensors are left over, the first is {extra[0]}")
    for name, tensor in model.named_parameters():
        if not bool(torch.isfinite(tensor).all()):
            raise ManticoreError(f"{place}: the weights are damaged: {name} holds values that are no numbers")
