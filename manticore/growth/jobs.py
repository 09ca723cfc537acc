"""One layer of a twin as a job: plain data, whose files are in a folder, so that any process can run it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, PretrainedConfig

from manticore.components import Component
from manticore.growth.attention_weights import AttentionWeights, attention_weights
from manticore.growth.distill import DistillOptions, distill
from manticore.growth.pairs import PairStore
from manticore.growth.twin import attention_of
from manticore.modeling.twins import RecurrentAttention
from manticore.utils.io import atomic_write

VERSION = 1
"""Part of every job; increased when a change of the code changes its result."""


def layer_job(
    layer: int, config: PretrainedConfig, options: DistillOptions, source: Mapping[str, Any], held_out: int
) -> dict[str, Any]:
    """The job of a layer, without the location of its files.

    Args:
        layer: index of the layer.
        config: configuration of the twin.
        options: how its mixer starts and learns.
        source: what the pairs depend on: weights of the parent and text.
        held_out: number of blocks that are measured on.
    """
    twin = json.loads(config.to_json_string(use_diff=False))
    twin = {key: value for key, value in twin.items() if key not in ("auto_map", "transformers_version")}
    return {
        "version": VERSION,
        "layer": layer,
        "twin": twin,
        "options": asdict(options),
        "source": dict(source),
        "held_out": held_out,
    }


def save_attention(component: Component, layer: int, folder: Path) -> None:
    """Write the weights of a parent's attention, for the process that trains the mixer of this layer."""
    weights = attention_weights(attention_of(component, layer), component.config)
    tensors = {item.name: getattr(weights, item.name) for item in fields(weights)}
    _save({name: value for name, value in tensors.items() if value is not None}, folder / f"{layer:03d}.attention")


def run_layer(job: dict[str, Any]) -> dict[str, float]:
    """Train the mixer of a layer, write its weights, and return its scores.

    `location` of the job has the folder of its files, the number of threads, and the shape of the pairs.
    """
    location, layer = job["location"], int(job["layer"])
    folder, threads = Path(location["folder"]), torch.get_num_threads()
    torch.set_num_threads(int(location["threads"]))
    try:
        options = DistillOptions(**job["options"])
        torch.manual_seed(options.seed)
        module = new_mixer(job["twin"], layer)
        tensors: dict[str, Any] = {"out_bias_D": None, **load_file(folder / f"{layer:03d}.attention")}
        pairs = PairStore(folder, *location["shape"]).pairs(layer)
        score = distill(module.mixer, AttentionWeights(**tensors), pairs, int(job["held_out"]), options)
        _save(module.state_dict(), mixer_file(folder, layer))
    finally:
        torch.set_num_threads(threads)
    return asdict(score)


def new_mixer(twin: Mapping[str, Any], layer: int) -> RecurrentAttention:
    """The mixer of a layer with fresh weights, from the configuration of the twin as a dictionary."""
    options = dict(twin)
    config = AutoConfig.for_model(options.pop("model_type"), **options)
    return RecurrentAttention(config, layer)


def mixer_file(folder: Path, layer: int) -> Path:
    """The file of a trained mixer."""
    return folder / f"{layer:03d}.mixer"


def load_mixer(module: nn.Module, folder: Path, layer: int) -> None:
    """Load the weights of a trained mixer."""
    module.load_state_dict(load_file(mixer_file(folder, layer)))


def _save(tensors: Mapping[str, torch.Tensor], file: Path) -> None:
    with atomic_write(file) as part:
        save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, part)
