"""Adapters in a run: on every supernet that it builds, whose frozen weights are the memory of the components."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from torch import nn

from manticore.adapters.attach import attach, trained_parameters
from manticore.adapters.base import adapted_layers
from manticore.adapters.ladder import ladder_of
from manticore.adapters.options import AdapterOptions
from manticore.adapters.searched import chosen_sizes, decide_sizes, searched_layers
from manticore.components import Component
from manticore.nas.cost import parameters
from manticore.nas.supernet import Supernet
from manticore.utils.console import info
from manticore.utils.io import write_json

if TYPE_CHECKING:
    from manticore.experiment.experiment import Experiment


SIZES = "adapters.json"
"""File of a run or a fine-tuning with the sizes that were chosen for each layer."""


def adapt(net: Supernet, options: AdapterOptions, strict: bool = True, searched: bool = True) -> list[str]:
    """Put adapters on a supernet, and its frozen weights into the memory of its components. See `attach`.

    Unless the sizes of the adapters are `searched`, they are the first of the options.
    """
    notes = attach(net, options, strict)
    if not searched:
        decide_sizes(net, dict.fromkeys(searched_layers(net), 0))
    for name, component in net.components.items():
        for source, target in _pairs(net, name, component):
            component_parameters = dict(source.named_parameters())
            for key, parameter in target.named_parameters():
                if key in component_parameters and not parameter.requires_grad and not parameter.is_meta:
                    parameter.data = component_parameters[key].data
    return notes


def _pairs(net: Supernet, name: str, component: Component) -> Iterator[tuple[nn.Module, nn.Module]]:
    """The modules of a component, each with its copy in the supernet."""
    layout, backbone = component.layout, component.backbone
    layers: Any = getattr(backbone, layout.layers)
    for stage, (start, stop) in enumerate(pairwise(net.layer_boundaries[name])):
        branches: Any = net.stages[stage]
        if name in branches:
            yield from zip(layers[start:stop], getattr(branches[name].segment.backbone, layout.layers), strict=True)
    if name in net.positions:
        yield getattr(backbone, str(layout.positions)), net.positions[name]
    if name in net.embeds:
        embed: Any = net.embeds[name]
        yield getattr(backbone, layout.tokens), embed.tokens
        yield component.head, net.heads[name]
    if name in net.norms:
        yield getattr(backbone, layout.norm), net.norms[name]


def adapter_summary(exp: Experiment) -> list[str]:
    """What is trained, and what users should know about the options, as sentences."""
    net = exp.skeleton(exp.space.base or exp.space.names[0], adapted=False)
    notes, options = adapt(net, exp.recipe.adapter), exp.recipe.adapter
    scratch = [component.name for component in exp.components if not component.pretrained]
    if scratch and options.freeze == "components":
        notes.append(
            f"note: {' and '.join(scratch)} start from random weights, which stay as they are; "
            "--set adapter.freeze=targets trains all that have no adapter"
        )
    return [f"adapter: {describe(net, options)}", *notes]


def describe(net: nn.Module, options: AdapterOptions) -> str:
    """Adapter, number of layers and parameters, as text."""
    ladder = ladder_of(net)
    where = f"beside {ladder.sizes['stages']} stages" if ladder else f"on {len(adapted_layers(net))} layers"
    return f"{options.name} {where}, {trained_parameters(net):,} parameters beside the {parameters(net):,} of the model"


def save_sizes(net: nn.Module, folder: Path, console: Console) -> None:
    """Write and print the sizes that were chosen for the layers of a model; nothing if none were searched."""
    sizes = chosen_sizes(net)
    if not sizes["layers"]:
        return
    write_json(folder / SIZES, sizes)
    counts = Counter((layer["blocks"], layer["rank"]) for layer in sizes["layers"].values())
    text = ", ".join(f"{count} layers with {N} blocks of rank {r}" for (N, r), count in counts.most_common())
    info(console, f"adapter sizes: {text}; {sizes['parameters']:,} parameters ({folder / SIZES})")
