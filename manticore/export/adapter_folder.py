"""Adapter folders: trained changes beside the weights that they change, in peft's form where peft supports the kind.

A folder has the tensors (`adapter_model.safetensors`), its layers (`adapter.json`), a loader that needs torch and
safetensors alone (`adapter.py`), and for LoRA peft's `adapter_config.json`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from manticore.adapters import ladder_net
from manticore.adapters.base import Adapter
from manticore.adapters.catalog import adapters
from manticore.adapters.ladder_net import SideNetwork, hash_stages, read_ladder
from manticore.adapters.options import LADDER
from manticore.errors import BadFile, ManticoreError
from manticore.export import adapter_loader
from manticore.export.adapter_loader import RECORD, WEIGHTS, hash_weights, read_changes
from manticore.utils.io import atomic_dir, read_json, write_json, write_text

ADAPTER = "adapter"
"""Name of the adapter folder in the folder of the model that it changes."""

PEFT_PREFIX = "base_model.model."
"""Start of the names of tensors in peft's files."""


def save_adapter(model: PreTrainedModel, layers: Mapping[str, Adapter], out: Path) -> Path:
    """Write adapters as an adapter folder.

    Args:
        model: the model without its adapters (`detach`).
        layers: the adapters by layer, all of one kind.
        out: folder to write; must not exist.
    """
    layers = {name: adapter.final() for name, adapter in layers.items()}
    first = next(iter(layers.values()))
    kind = next(name for name in adapters if adapters[name] is type(first))
    names = first.peft[1] if first.peft else {}
    prefix = PEFT_PREFIX if first.peft else ""
    record: dict[str, Any] = {"format": 1, "adapter": kind, "layers": {}}
    tensors: dict[str, Tensor] = {}
    for name, adapter in layers.items():
        keys = {own: f"{prefix}{name}.{names.get(own, own)}" for own in adapter.state_dict()}
        numbers = {key: value for key, value in vars(adapter).items() if isinstance(value, int | float)}
        numbers = {key: value for key, value in numbers.items() if not key.startswith("_") and key != "training"}
        transposed = isinstance(model.get_submodule(name), Conv1D)
        record["layers"][name] = {"transposed": transposed, "numbers": numbers, "tensors": keys}
        tensors |= {keys[own]: value.detach().cpu().contiguous() for own, value in adapter.state_dict().items()}
    record["weights_hash"] = hash_weights(_weights(model, layers))
    with atomic_dir(out) as part:
        save_file(tensors, part / WEIGHTS, metadata={"format": "pt"})
        write_json(part / RECORD, record)
        write_text(part / f"{ADAPTER}.py", loader_source(type(first)))
        if first.peft:
            write_json(part / "adapter_config.json", _peft_config(first, layers))
    return out


def save_ladder(model: PreTrainedModel, ladder: SideNetwork, out: Path) -> Path:
    """Write a ladder as an adapter folder; `model` is the hybrid without it, and `out` must not exist."""
    load = (
        "\n\ndef load(model):\n"
        '    """Put the side network in the folder of this file on a hybrid. Returns the hybrid."""\n'
        "    return read_ladder(model, Path(__file__).parent)\n"
    )
    record = {"format": 1, "adapter": LADDER, "sizes": ladder.sizes, "weights_hash": hash_stages(model)}
    with atomic_dir(out) as part:
        save_file({name: value.cpu().contiguous() for name, value in ladder.state_dict().items()}, part / WEIGHTS)
        write_json(part / RECORD, record)
        write_text(part / f"{ADAPTER}.py", inspect.getsource(ladder_net) + load)
    return out


def load_adapter(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Merge the adapter of a folder into the weights of a model, or put its ladder on it. Returns the model.

    Raises as `merge_adapters` does.
    """
    record = _record(folder)
    if record["adapter"] != LADDER:
        return merge_adapters(model, [folder])
    try:
        read_ladder(model, folder)
    except ValueError as error:
        raise ManticoreError(str(error)) from None
    except Exception as error:
        raise _damaged(folder, error) from None
    return model


def _peft_config(first: Adapter, layers: Mapping[str, Adapter]) -> dict[str, Any]:
    assert first.peft is not None
    targets = {"target_modules": sorted(layers), "task_type": None, "bias": "none", "inference_mode": True}
    return {"peft_type": first.peft[0], "base_model_name_or_path": "..", **targets, **first.peft_config()}


def _weights(model: nn.Module, layers: Mapping[str, Any]) -> list[nn.Parameter]:
    return [model.get_submodule(name).get_parameter("weight") for name in layers]


def loader_source(kind: type[Adapter]) -> str:
    """The source of a loader for one kind of adapter: `adapter_loader.py`, and the kind's `delta`."""
    delta = dedent(inspect.getsource(kind.delta))
    load = (
        "def load(model):\n"
        '    """Add the changes in the folder of this file to a model. Returns the model."""\n'
        "    return add_changes(model, Path(__file__).parent, delta)\n"
    )
    return f"{inspect.getsource(adapter_loader)}\n\n{delta}\n\n{load}"


def adapter_folder(path: Path) -> Path | None:
    """The adapter folder that a path is or contains, as does the folder of a fine-tuning; None if there is none."""
    folders = (path, path / ADAPTER, path / "hybrid" / ADAPTER)
    return next((folder for folder in folders if (folder / RECORD).exists()), None)


def merge_adapters(model: PreTrainedModel, folders: Sequence[Path]) -> PreTrainedModel:
    """Add the changes of adapter folders to the weights of a model. Returns the model.

    Raises UnknownName for a kind that is not registered, BadFile for a damaged folder, and ManticoreError if an adapter
    is for other weights than those that the model has before any change is added.
    """
    changes = [change for folder in folders for change in _read(model, folder)]
    with torch.no_grad():
        for weight, delta in changes:
            weight.add_(delta)
    return model


def _record(folder: Path) -> dict[str, Any]:
    record = read_json(folder / RECORD)
    if not isinstance(record, dict) or not {"adapter", "weights_hash"} <= set(record):
        raise BadFile(folder / RECORD, "not the record of an adapter")
    return record


def _damaged(folder: Path, error: Exception) -> BadFile:
    """safetensors, JSON and torch raise different errors for a damaged folder."""
    return BadFile(folder, f"a damaged adapter ({' '.join(str(error).split())[:80]})")


def _read(model: PreTrainedModel, folder: Path) -> list[tuple[Tensor, Tensor]]:
    record = _record(folder)
    if record["adapter"] == LADDER:
        raise ManticoreError(f"{folder} is a ladder, which changes no weights and cannot be added up")
    kind = adapters[record["adapter"]]
    try:
        return read_changes(model, folder, kind.delta)
    except ValueError as error:
        raise ManticoreError(str(error)) from None
    except Exception as error:
        raise _damaged(folder, error) from None
