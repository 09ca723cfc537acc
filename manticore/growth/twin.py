"""The twin of a parent before its mixers are trained: its configuration, and its model with the parent's weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import get_layer_types_and_kwargs

from manticore.components import Component
from manticore.errors import ManticoreError, UnknownName
from manticore.modeling.twins import PARENTS, PREFIX, RECURRENT, TWIN_CONFIGS

NOT_INHERITED = ("model_type", "architectures", "transformers_version", "dtype", "torch_dtype", "_name_or_path")
"""Fields of a parent's configuration that its twin does not take over."""


@dataclass(frozen=True)
class MixerSize:
    """Sizes of the mixers of a twin; None: the default of `manticore.modeling.twins`.

    Attributes:
        expand: channels, in units of the width.
        state_size: features of the state for each channel.
        heads: heads of Mamba-2.
        groups: groups of heads of Mamba-2 that share B and C.
    """

    expand: int = 1
    state_size: int | None = None
    heads: int | None = None
    groups: int | None = None


def check_growable(component: Component) -> None:
    """Raises ManticoreError if a component has no attention, or is of a family without twins."""
    kind = str(component.config.model_type)
    if kind.startswith(PREFIX):
        raise ManticoreError(f"'{component.name}' is a twin already; grow its parent")
    if not component.layout.has_attention:
        raise ManticoreError(f"'{component.name}' is a {kind}, which has no attention to replace")
    if kind not in PARENTS:
        raise UnknownName("parent of a twin", kind, PARENTS)


def check_layers(layers: Sequence[int] | None, depth: int) -> list[int]:
    """Indices from 0 of layers that are counted from 1; None: all. Raises ManticoreError for others."""
    if layers is None:
        return list(range(depth))
    wrong = [layer for layer in layers if not 1 <= layer <= depth]
    if wrong or not layers or len(set(layers)) < len(layers):
        shown = ",".join(map(str, layers))
        raise ManticoreError(f"--layers must name some of the layers 1 to {depth}, each once, got '{shown}'")
    return [layer - 1 for layer in sorted(layers)]


def twin_config(component: Component, mixer: str, size: MixerSize, layers: Sequence[int]) -> PretrainedConfig:
    """The configuration of a parent's twin.

    Args:
        component: the parent.
        mixer: `mamba2` or `mamba`.
        size: of the mixers.
        layers: indices of the layers that are recurrent; the others keep attention.

    Raises ManticoreError for sizes that do not fit.
    """
    config: Any = component.config
    kinds, _ = get_layer_types_and_kwargs(config)
    fields = {key: value for key, value in config.to_dict().items() if key not in NOT_INHERITED}
    fields["layer_types"] = [RECURRENT if index in layers else kind for index, kind in enumerate(kinds)]
    if config.model_type == "gpt_neo":  # a recurrent layer has no window
        attention_kinds = ["global" if index in layers else kind for index, kind in enumerate(config.attention_layers)]
        fields |= {"attention_types": [[[kind], 1] for kind in attention_kinds], "attention_layers": attention_kinds}
    attention = attention_of(component, 0)
    try:
        twin: PretrainedConfig = TWIN_CONFIGS[config.model_type](
            **fields,
            mixer=mixer,
            mamba_expand=size.expand,
            mamba_d_state=size.state_size,
            mamba_n_heads=size.heads,
            mamba_n_groups=size.groups,
            parent_weights=component.weight_hash,
            mamba_out_bias=_out_projection(attention).bias is not None,
        )
    except ValueError as error:
        raise ManticoreError(str(error)) from None
    return twin


def attention_of(component: Component, layer: int) -> nn.Module:
    """The attention of a layer of a parent, or the mixer in its place."""
    layers, attention = PARENTS[str(component.config.model_type).removeprefix(PREFIX)]
    module: nn.Module = getattr(getattr(component.backbone, layers)[layer], attention)
    return module


def set_attention(component: Component, layer: int, module: nn.Module) -> None:
    """Replace the attention of a layer of a parent, or of a segment's backbone."""
    layers, attention = PARENTS[str(component.config.model_type).removeprefix(PREFIX)]
    setattr(getattr(component.backbone, layers)[layer], attention, module)


def _out_projection(attention: nn.Module) -> Any:
    inner: Any = getattr(attention, "attention", attention)  # GPT-Neo's attention is one module further inside
    names = ("o_proj", "dense", "c_proj", "out_proj")
    return next(getattr(inner, name) for name in names if hasattr(inner, name))


def untrained_twin(component: Component, config: PretrainedConfig) -> PreTrainedModel:
    """A twin with copies of its parent's weights, and mixers that start at random."""
    twin: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    names = twin.state_dict().keys()
    shared = {name: value for name, value in component.model.state_dict().items() if name in names}
    missing = [name for name in twin.load_state_dict(shared, strict=False).missing_keys if ".mixer." not in name]
    assert not missing, missing
    twin.generation_config = component.model.generation_config
    return twin.eval()
