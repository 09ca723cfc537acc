"""Adapters on the linear layers of a model: which layers have one, how it is applied and merged, and what is frozen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from manticore.adapters.base import Adapter, adapted_layers, adapter_options
from manticore.adapters.catalog import adapters
from manticore.adapters.ladder import attach_ladder, ladder_of
from manticore.adapters.options import LADDER, TRIALS, AdapterOptions
from manticore.errors import ManticoreError, UnknownName
from manticore.modeling.effective_weights import READ_BY_FUSED_KERNELS
from manticore.modeling.heads import Head
from manticore.modeling.segments import Segment

AnyModule = TypeVar("AnyModule", bound=nn.Module)

COMPONENT_PARTS = ("embeds", "norms", "positions", "heads", "embed", "norm", "lm_head")
"""Modules of a supernet and of a hybrid with weights of components, besides their segments."""

LABELLED_PARTS = ("embeds", "embed")
"""Those that are new on a task with labels, which has a vocabulary of its own."""

PEFT_TARGETS = ("q_proj", "v_proj", "c_attn", "query_key_value", "qkv_proj", "in_proj")
"""Projections of queries and values, alone or fused, as peft has them by default, and the input of a recurrent layer.

transformers calls all of them as modules in every implementation.
"""

ALPHAS = ("alpha", "group_alpha")
"""Parameters of a supernet and of mixed ops that are no weights."""


@cache
def _with_changed_weight(kind: Any) -> type[nn.Module]:
    """The class of a layer whose weight is `W + D` whenever it is read; W stays its parameter of the name `weight`."""

    def weight(self: Any) -> Tensor:
        base: Tensor = self._parameters["weight"]
        delta = self.adapter.delta().to(base.dtype)
        changed: Tensor = base + (delta.T if isinstance(self, Conv1D) else delta)
        return changed

    return type(f"Changed{kind.__name__}", (kind,), {"weight": property(weight)})


def attach(net: nn.Module, options: AdapterOptions, strict: bool = True) -> list[str]:
    """Put adapters on the linear layers of a model, and freeze what they replace.

    A layer that is called as a module adds the adapter's output to its own, in factored form where that costs less. A
    layer whose weight transformers or a kernel reads raw gets a parametrized weight, W + D whenever it is read, so the
    adapter has its effect in every implementation. Names of weights do not change; those of adapters are added.

    Args:
        net: a supernet, a hybrid, or another model of transformers.
        options: section `adapter` of a recipe, with a name.
        strict: every target must be the name of a layer; otherwise one of them.

    Returns:
        sentences that users should read.

    Raises UnknownName for an adapter, an option or a target that does not exist, and ManticoreError if a layer is too
    small for the options or the model has adapters already.
    """
    assert options.name is not None
    settings = adapter_options(options.name, options.options)
    if options.name == LADDER:
        attach_ladder(net, options, settings)
        return []
    if options.name == TRIALS:
        raise ManticoreError(f"{TRIALS} is a search of manticore finetune, and no adapter of a model; use more")
    kind: Any = adapters[options.name]
    if adapted_layers(net) or ladder_of(net) is not None:
        raise ManticoreError("the model has adapters already; merge them first, or take a hybrid without a ladder")
    layers, too_small = targets(net, options, settings, strict)
    if options.freeze == "components":
        freeze_components(net)
    elif options.freeze == "all":
        freeze_weights(net)
    notes: dict[str, None] = {}
    built = {name: kind(_matrix(module), settings) for name, module in layers.items()}
    kind.join(list(built.values()), settings)
    for name, module in layers.items():
        module.requires_grad_(False)
        notes.update(dict.fromkeys(built[name].notes))
        _install(module, built[name], _read_raw(net, module))
    if too_small:
        notes[f"note: these layers are too small for the adapter and stay as they are: {', '.join(too_small)}"] = None
    return list(notes)


def targets(
    net: nn.Module, options: AdapterOptions, settings: Any, strict: bool = True
) -> tuple[dict[str, nn.Module], list[str]]:
    """The layers that get an adapter by name, and the last parts of the names of those that are too small.

    Raises as `attach` does. A layer that is too small is an error where the options name targets.
    """
    assert options.name is not None
    kind: Any = adapters[options.name]
    linear = linear_layers(net)
    last_parts = sorted({name.rpartition(".")[2] for name in linear})
    missing = [target for target in options.targets if not any(_matches(name, target) for name in linear)]
    for target in missing:
        if strict or len(missing) == len(options.targets):
            raise UnknownName("target of adapter.targets", target, last_parts)
    patterns = options.targets or kind.default_targets
    chosen, too_small = {}, set()
    for name, module in linear.items():
        if patterns and not any(_matches(name, target) for target in patterns):
            continue
        try:
            kind.check(*map(int, _matrix(module).shape), settings)
        except ManticoreError as error:
            if options.targets:
                raise ManticoreError(f"{name.rpartition('.')[2]}: {error}") from None
            too_small.add(name.rpartition(".")[2])
        else:
            chosen[name] = module
    if not chosen:
        for module in linear.values():
            kind.check(*map(int, _matrix(module).shape), settings)  # raises the reason
        raise ManticoreError("the model has no linear layer for an adapter")
    return chosen, sorted(too_small)


def linear_layers(net: nn.Module) -> dict[str, nn.Module]:
    """The linear layers of the segments of a net by name; of another model, all but its output layer."""
    segments = [f"{name}." for name, part in net.named_modules() if isinstance(part, Segment)]
    head = net.get_output_embeddings() if isinstance(net, PreTrainedModel) else None
    return {
        name: part
        for name, part in net.named_modules()
        if isinstance(part, nn.Linear | Conv1D)
        and part is not head
        and (not segments or name.startswith(tuple(segments)))
    }


def peft_targets(model: PreTrainedModel) -> list[str]:
    """The last parts of the names of the layers that peft's adapters are for by default; empty if there are none.

        peft.get_peft_model(model, peft.LoraConfig(target_modules=mc.peft_targets(model)))

    An exported hybrid has them as `model.config.peft_targets`, so that this works without manticore.

    Args:
        model: a hybrid, or another language model of transformers.
    """
    names = {name.rpartition(".")[2] for name in linear_layers(model)}
    return [name for name in PEFT_TARGETS if name in names]


def _matches(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _matrix(module: nn.Module) -> Tensor:
    """The weight of a layer as (outputs, inputs); GPT-2's Conv1D has it transposed."""
    weight = base_weight(module)
    return weight.T if isinstance(module, Conv1D) else weight


def base_weight(module: nn.Module) -> nn.Parameter:
    """The weight of a layer without the change of its adapter."""
    weight = module._parameters["weight"]
    assert weight is not None
    return weight


def _read_raw(net: nn.Module, module: nn.Module) -> bool:
    """Whether transformers or a kernel may read the weight of a layer without calling the layer."""
    mixers = [part for part in net.modules() if hasattr(part, "A_log")]
    return any(part._modules.get(name) is module for part in mixers for name in READ_BY_FUSED_KERNELS)


def _install(module: nn.Module, adapter: Adapter, read_raw: bool) -> None:
    module.adapter = adapter
    if adapter.factored and not read_raw:
        module.register_forward_hook(_add_change)
    else:
        kind: Any = type(module)
        module.__class__ = _with_changed_weight(kind)


def _add_change(module: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """The forward hook of a layer that is called: a function, so that a copy of the layer has its own adapter."""
    change: Tensor = module.adapter(args[0])
    return output + change.to(output.dtype)


def trained_parameters(net: nn.Module) -> int:
    """Number of parameters of all adapters of a model, shared ones counted once."""
    layers = adapted_layers(net)
    shared = {id(parameter): parameter.numel() for layer in layers for parameter in layer.adapter.shared}
    ladder = ladder_of(net)
    beside = 0 if ladder is None else sum(parameter.numel() for parameter in ladder.parameters())
    return sum(layer.adapter.trained for layer in layers) + sum(shared.values()) + beside


def reattach(net: nn.Module, layers: Mapping[str, Adapter]) -> None:
    """Put copies of adapters on the layers with these names; the model is a copy of parts of the one they are from."""
    copies: dict[int, Any] = {}  # what adapters share, their copies share
    for name, adapter in layers.items():
        module = net.get_submodule(name)
        _install(module, deepcopy(adapter, copies), _read_raw(net, module))


def detach(net: nn.Module) -> dict[str, Adapter]:
    """Take the adapters off a model, whose weights then are those without the changes. Returns them by layer."""
    layers = adapted_layers(net)
    for _, module, _ in layers:
        if isinstance(type(module).__dict__.get("weight"), property):
            module.__class__ = type(module).__mro__[1]
        else:
            hook = next(key for key, function in module._forward_hooks.items() if function is _add_change)
            del module._forward_hooks[hook]
        del module.adapter
    net.requires_grad_(True)
    return {layer.name: layer.adapter for layer in layers}


@torch.no_grad()
def merge(net: AnyModule) -> AnyModule:
    """Add the changes of all adapters to the weights, once, and take the adapters off. Biases are not changed.

    The weights get new memory: what shares theirs, such as the component that they are from, is not changed. Returns
    `net`. Raises ManticoreError if it has no adapters, as after a first merge.
    """
    layers = adapted_layers(net)
    if not layers:
        raise ManticoreError("the model has no adapters to merge: it never had any, or they are merged already")
    for _, module, adapter in layers:
        weight, delta = base_weight(module), adapter.delta()
        weight.data = weight.data + (delta.T if isinstance(module, Conv1D) else delta).to(weight.dtype)
    detach(net)
    return net


def merged(net: AnyModule) -> AnyModule:
    """The model itself if it has no adapters, else a copy with merged weights."""
    return merge(deepcopy(net)) if adapted_layers(net) else net


def freeze_components(net: nn.Module) -> None:
    """Let the weights of components require no gradients; of a model without segments, all weights."""
    for parameter in _component_parameters(net):
        parameter.requires_grad_(False)


def freeze_weights(net: nn.Module) -> None:
    """Let all weights of a model require no gradients; the alphas of a supernet are no weights."""
    for name, parameter in net.named_parameters():
        if name.rpartition(".")[2] not in ALPHAS:
            parameter.requires_grad_(False)


def _component_parameters(net: nn.Module) -> Iterator[nn.Parameter]:
    if not any(isinstance(part, Segment) for part in net.modules()):
        yield from net.parameters()
        return
    labelled = any(isinstance(part, Head) for part in net.modules())
    for name, part in net.named_modules():
        last = name.rpartition(".")[2]
        is_part = last in COMPONENT_PARTS and name in (last, f"model.{last}")
        if isinstance(part, Segment) or (is_part and not (labelled and last in LABELLED_PARTS)):
            heads = {id(p) for head in part.modules() if isinstance(head, Head) for p in head.parameters()}
            yield from (parameter for parameter in part.parameters() if id(parameter) not in heads)
