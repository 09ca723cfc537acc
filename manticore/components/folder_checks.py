"""Checks of a model's folder before anything in it is read: its files lie in it, and its weights bound its size.

A folder from somebody else may name files outside of it, in links, in the index of its weights or in the list of its
tokenizers, or describe a model that is far larger than its weights.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import torch

from manticore.components.spec import MOST_LAYERS
from manticore.errors import BadFile, ManticoreError, shown
from manticore.utils.io import read_json

MOST_HEADER_BYTES = 100_000_000
"""Largest header of a safetensors file, as of safetensors itself."""

PACKED = 16
"""Most parameters for a stored number: quantized weights hold several in one."""

LAYER_KEYS = ("num_hidden_layers", "num_layers", "n_layers", "n_layer")
"""Keys of configurations for the number of layers."""

SMALL = 1 << 24
"""Number of parameters up to which a model is built whatever its weights."""


def check_model_folder(folder: Path) -> None:
    """Raises BadFile if a file of a model's folder, or one that it names, lies outside of it, or for absurd depths."""
    root = folder.resolve()
    roots = [root, *([root.parents[1] / "blobs"] if root.parent.name == "snapshots" else [])]  # of the hub's cache
    for file in folder.iterdir():
        if file.is_symlink() and not any(file.resolve().is_relative_to(inside) for inside in roots):
            raise BadFile(file, "a link that leads out of the folder of the model; put the file itself there")
    for file in folder.glob("*.index.json"):
        index = read_json(file)
        names = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(names, dict):
            raise BadFile(file, "not an index of weights: expected an object with weight_map")
        for name in names.values():
            if not _is_plain(name) or (file.name.startswith("model.safetensors") and name[-12:] != ".safetensors"):
                raise BadFile(file, f"names {str(name)[:80]!r}, which is no safetensors file of this folder")
    _check_layers(folder / "config.json")
    file = folder / "tokenizer_config.json"
    config = read_json(file) if file.is_file() else None
    names = config.get("fast_tokenizer_files") if isinstance(config, dict) else None
    for name in names if isinstance(names, list) else ():
        if not _is_plain(name):
            raise BadFile(file, f"names {str(name)[:80]!r}, which is no file of this folder")


def _check_layers(file: Path) -> None:
    left = [read_json(file)] if file.is_file() else []
    while left:
        value = left.pop()
        if isinstance(value, list | dict):
            left += value.values() if isinstance(value, dict) else value
        if isinstance(value, dict):
            for key in LAYER_KEYS:
                if isinstance(layers := value.get(key), int | float) and layers > MOST_LAYERS:
                    raise BadFile(file, f"{key} must be a whole number of at most {MOST_LAYERS:,}, got {shown(layers)}")


def _is_plain(name: Any) -> bool:
    """Whether this is the name of a file, without a folder."""
    return isinstance(name, str) and Path(name).name == name


def check_model_size(folder: Path, config: Any, build: Any) -> None:
    """Raises ManticoreError if a configuration describes a model that is far larger than the weights beside it.

    Args:
        folder: a model's folder with safetensors.
        config: its configuration.
        build: makes the model of a configuration; called with torch's device `meta`, so no memory is allocated.
    """
    sizes = [shape for file in folder.glob("*.safetensors") for shape in stored_sizes(file)]
    layers = getattr(config, "num_hidden_layers", None)
    if not sizes or not isinstance(layers, int):
        return  # reported by those who read the weights
    problem = f"{folder}: the weights do not match its config.json"
    if layers > len(sizes):
        raise ManticoreError(f"{problem}: {len(sizes)} tensors are fewer than {layers:,} layers")
    with torch.device("meta"):
        parameters = sum(parameter.numel() for parameter in build(config).parameters())
    if parameters > max(SMALL, PACKED * sum(sizes)):
        raise ManticoreError(f"{problem}: {sum(sizes):,} stored numbers, and {parameters:,} parameters")


def stored_sizes(file: Path) -> list[int]:
    """Number of elements of each tensor of a safetensors file, by its header; empty if it is damaged."""
    with file.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        content = stream.read(length) if length <= MOST_HEADER_BYTES else b""
    try:
        header = json.loads(content)
        shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
        return [int(torch.Size(shape).numel()) for shape in shapes]
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, RecursionError):
        return []
