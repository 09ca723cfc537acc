"""Adds the changes of an adapter folder to the weights of a model. This file needs torch and safetensors alone.

A copy of it, `adapter.py`, is in every adapter folder:

    import adapter
    adapter.load(model)  # the model of the folder's base, such as AutoModelForCausalLM.from_pretrained(...) returns
"""

from __future__ import annotations

import hashlib
import json
import math  # noqa: F401  the change of an adapter may read it
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: F401
from safetensors.torch import load_file
from torch import Tensor

RECORD, WEIGHTS = "adapter.json", "adapter_model.safetensors"
"""Files of an adapter folder: its layers with the numbers and the names of the tensors of each, and the tensors."""


def hash_weights(weights: Iterable[Tensor]) -> str:
    """BLAKE2b of the bytes of weights, in their order."""
    digest = hashlib.blake2b(digest_size=16)
    for weight in weights:
        digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@torch.no_grad()
def add_changes(model: Any, folder: Path, change: Callable[[Any], Tensor]) -> Any:
    """Add the change of every layer of an adapter folder to the layer's weight.

    Args:
        model: the model that the adapter was trained on, without the changes.
        folder: the adapter folder.
        change: from the numbers and tensors of an adapter, as attributes, to the change (m, n).

    Returns `model`. Raises ValueError if its weights are others than those that the adapter was trained on, as after a
    first call, or if it lacks a layer.
    """
    for weight, delta in read_changes(model, folder, change):
        weight.add_(delta)
    return model


@torch.no_grad()
def read_changes(model: Any, folder: Path, change: Callable[[Any], Tensor]) -> list[tuple[Tensor, Tensor]]:
    """The weights that an adapter folder changes, each with its change in the same shape. See `add_changes`."""
    record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    tensors = load_file(folder / WEIGHTS)
    modules = dict(model.named_modules())
    if missing := [name for name in record["layers"] if name not in modules]:
        raise ValueError(f"{folder} is an adapter of another model: this one has no layer {missing[0]}")
    weights = [modules[name].weight for name in record["layers"]]
    if hash_weights(weights) != record["weights_hash"]:
        raise ValueError(f"{folder} is an adapter for other weights than the model's, or it is merged in them already")
    changes = []
    for weight, layer in zip(weights, record["layers"].values(), strict=True):
        values = {name: tensors[key] for name, key in layer["tensors"].items()}
        delta = change(SimpleNamespace(**layer["numbers"], **values)).to(weight)
        changes.append((weight, delta.T if layer["transposed"] else delta))
    return changes
