"""Depth of the parameters of a model, for learning rates that decay with it and for layers that are not trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from manticore.modeling.segments import Segment
from manticore.nas.supernet import Supernet
from manticore.training.optimizers import is_embedding_or_head

EMBEDDINGS = -1
"""Depth of embeddings and position tables, before the first layer."""


def parameter_depths(net: nn.Module) -> dict[str, tuple[int, int]]:
    """For each parameter its layer, from 0, and the number of layers of the model; `EMBEDDINGS` before the first.

    Layers of a hybrid are those of its path, layers of a supernet those of each component. What is behind the last
    layer counts as part of it, and projectors as part of the first layer of their stage.
    """
    layers = list(_layers(net))
    total = max((count for _, _, count in layers), default=1)
    depths = {}
    for name, _ in net.named_parameters():
        position = next(((depth, count) for prefix, depth, count in layers if name.startswith(prefix)), None)
        first = is_embedding_or_head(name) and not any(part in name for part in ("head", "score"))
        depths[name] = position or (EMBEDDINGS if first else total - 1, total)
    return depths


def _layers(net: nn.Module) -> Iterator[tuple[str, int, int]]:
    """Prefix, depth and number of layers of every layer, then of every stage for its other parameters."""
    segments = {name: part for name, part in net.named_modules() if isinstance(part, Segment)}
    stages = []
    for name, segment in segments.items():
        first, count = _place_in_model(net, name, segment, segments)
        path, size = _layer_list(segment)
        yield from ((f"{name}.{path}.{index}.", first + index, count) for index in range(size))
        stages.append((f"{name.removesuffix('segment')}", first, count))
    if not segments:
        path, size = _layer_list(net)
        yield from ((f"{path}.{index}.", index, size) for index in range(size))
    yield from stages


def _place_in_model(net: nn.Module, name: str, segment: Segment, segments: dict[str, Segment]) -> tuple[int, int]:
    """The first layer of a segment and the number of layers of its model."""
    if isinstance(net, Supernet):
        _, stage, component, *_ = name.split(".")
        boundaries: Any = net.layer_boundaries[component]
        return boundaries[int(stage)], boundaries[-1]
    return segment.first_layer, sum(_layer_list(part)[1] for part in segments.values())


def _layer_list(net: nn.Module) -> tuple[str, int]:
    """Name and length of the list of layers of a backbone, the outermost list of modules."""
    lists = [(name, len(part)) for name, part in net.named_modules() if isinstance(part, nn.ModuleList)]
    return min(lists, key=lambda item: item[0].count("."), default=("", 0))


def freeze_first_layers(net: nn.Module, share: float) -> None:
    """Let the layers before `share` of the depth, and the embeddings if it is above 0, require no gradients."""
    if share:
        depths = parameter_depths(net)
        for name, parameter in net.named_parameters():
            depth, count = depths[name]
            if depth < share * count and ".proj_" not in name and ".bypass" not in name:
                parameter.requires_grad_(False)


def update_scales(net: nn.Module, first: float) -> dict[str, float]:
    """The factor of each parameter's update in LiNeS (arXiv 2410.17146): `first + (1 - first) l / (L - 1)`.

    l, from 0, is the layer, and L the number of layers. Embeddings have the factor of the first layer.
    """
    return {
        name: first + (1 - first) * (max(0, depth) / (count - 1) if count > 1 else 1.0)
        for name, (depth, count) in parameter_depths(net).items()
    }


def depth_scales(net: nn.Module, decay: float) -> dict[str, float]:
    """The factor of each parameter's learning rate: `decay` to the power of the layers behind its own."""
    return {name: decay ** (count - 1 - depth) for name, (depth, count) in parameter_depths(net).items()}
