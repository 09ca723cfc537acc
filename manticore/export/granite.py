"""Writes a path of a Llama-like parent and its Mamba-2 twin as transformers' dense `granitemoehybrid`.

That class has the same layers under other names: attention or Mamba-2 behind an RMS norm, then a gated feed-forward
layer behind another. Its factors are set to those of Llama: attention's scores are divided by the root of a head's
size, and there are no experts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GraniteMoeHybridConfig, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import get_layer_types_and_kwargs

from manticore.components.component import copy_weights
from manticore.components.spec import SKIP
from manticore.errors import ManticoreError
from manticore.modeling.configuration_manticore import HybridConfig
from manticore.modeling.twins import CHUNK_SIZE, PREFIX, RECURRENT

LLAMA_LIKE = ("llama", "mistral", "qwen2", "qwen3")
"""Model types whose layers are those of Llama, up to biases, norms of queries and keys, and windows."""

SAME_FIELDS = (
    *("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "hidden_act", "rms_norm_eps"),
    *("max_position_embeddings", "rope_parameters", "attention_dropout", "initializer_range"),
)
"""Fields of a parent's configuration that have the same meaning there."""

SIZES = ("mamba_expand", "mamba_d_state", "mamba_n_heads", "mamba_n_groups", "mamba_d_conv")
"""Fields of a twin's configuration that have the same meaning there."""

ZEROS = ("self_attn.o_proj.bias", "mamba.in_proj.bias")
"""Weights that are there in addition where a layer has other biases."""


class NoNativeClass(ManticoreError):
    """A path with layers of a twin for which transformers has no class of its own."""


def runs_twin(config: HybridConfig) -> bool:
    """Whether the base of a hybrid or a component on its path is a twin."""
    return any(record["config"]["model_type"].startswith(PREFIX) for record in config.components.values())


@dataclass(frozen=True)
class PathLayer:
    """A layer of a path.

    Attributes:
        config: configuration of the component that it is from.
        kind: `full_attention`, `linear_attention` or another of transformers' kinds.
        module: the layer.
    """

    config: Any
    kind: str
    module: nn.Module


def granite_model(hybrid: PreTrainedModel) -> PreTrainedModel:
    """A `GraniteMoeHybridForCausalLM` with copies of the weights of a hybrid.

    Raises NoNativeClass, with the reason, if the layers on the path cannot be written as that class.
    """
    config: HybridConfig = hybrid.config
    kind = config.components[config.base]["config"]["model_type"].removeprefix(PREFIX)
    if kind not in LLAMA_LIKE:
        raise NoNativeClass(f"transformers has no class with the layers of a {kind} and of Mamba-2")
    if config.topology != "residual":
        raise NoNativeClass(f"no class of transformers has gates, as the {config.topology} topology does")
    layers = list(_path_layers(hybrid))
    native_config = _granite_config(config, hybrid.model.base_config, layers)
    native: PreTrainedModel = AutoModelForCausalLM.from_config(native_config).to(hybrid.dtype)
    backbone: Any = native.base_model
    copy_weights(hybrid.model.embed.tokens, backbone.embed_tokens)
    copy_weights(hybrid.lm_head, native.get_output_embeddings())
    copy_weights(hybrid.model.norm, backbone.norm)
    for index, (layer, target) in enumerate(zip(layers, backbone.layers, strict=True)):
        _load_layer(index, layer.module, target)
    native.generation_config = hybrid.generation_config
    return native.eval()


def _path_layers(hybrid: PreTrainedModel) -> Iterator[PathLayer]:
    """The layers of a path of components with one stream. Raises NoNativeClass if some stage has another."""
    config: HybridConfig = hybrid.config
    for stage, name in enumerate(config.path):
        if name == SKIP:
            continue
        record = config.components.get(name)
        if record is None or (name != config.base and not record.get("same_stream")):
            raise NoNativeClass(f"stage {stage + 1} runs '{name}', which is neither the parent nor its twin")
        component_config = config.component_config(name)
        kinds, _ = get_layer_types_and_kwargs(component_config)
        start, stop = record["layer_boundaries"][stage : stage + 2]
        modules = hybrid.model.stages[stage].segment.backbone.layers
        for layer, module in zip(range(start, stop), modules, strict=True):
            yield PathLayer(component_config, kinds[layer], module)


def _granite_config(config: HybridConfig, base: PretrainedConfig, layers: list[PathLayer]) -> PretrainedConfig:
    """The configuration of the native model. Raises NoNativeClass if there is none."""
    recurrent = [layer for layer in layers if layer.kind == RECURRENT]
    if len(recurrent) == len(layers):
        raise NoNativeClass("no layer on the path has attention, and granitemoehybrid's cache needs one that has")
    if windowed := [index for index, layer in enumerate(layers, 1) if layer.kind == "sliding_attention"]:
        raise NoNativeClass(f"granitemoehybrid has no sliding windows, and layer {windowed[0]} of the path has one")
    if any(layer.config.mixer != "mamba2" for layer in recurrent):
        raise NoNativeClass("granitemoehybrid has Mamba-2, and the mixers of the twin are Mamba's")
    if recurrent and base.hidden_act != "silu":
        raise NoNativeClass(f"granitemoehybrid has one activation, and the parent's is {base.hidden_act}, not silu")
    sizes = [{name: getattr(layer.config, name) for name in SIZES} for layer in recurrent]
    if any(each != sizes[0] for each in sizes):
        raise NoNativeClass("granitemoehybrid has mixers of one size, and those of the twins differ")
    fields: dict[str, Any] = {name: getattr(base, name) for name in SAME_FIELDS}
    fields |= {key: getattr(config, key) for key in ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id")}
    head_dim = getattr(base, "head_dim", None) or base.hidden_size // base.num_attention_heads
    if head_dim * base.num_attention_heads != base.hidden_size:
        fields["head_dim"] = head_dim
    names = {name for layer in layers for name, _ in layer.module.named_parameters()}
    return GraniteMoeHybridConfig(
        **fields,
        **(sizes[0] if sizes else {"mamba_n_heads": 1}),
        num_hidden_layers=len(layers),
        layer_types=[layer.kind for layer in layers],
        shared_intermediate_size=base.intermediate_size,
        num_local_experts=0,
        num_experts_per_tok=0,
        position_embedding_type="rope",
        attention_multiplier=head_dim**-0.5,
        attention_bias="self_attn.q_proj.bias" in names,
        mamba_proj_bias="self_attn.mixer.out_proj.bias" in names,
        mamba_chunk_size=CHUNK_SIZE,
        tie_word_embeddings=config.tie_word_embeddings,
    )


@torch.no_grad()
def _load_layer(index: int, source: nn.Module, target: nn.Module) -> None:
    """Copy the weights of a layer. Raises NoNativeClass for one that the native layer does not have."""
    weights: dict[str, Tensor] = source.state_dict()
    gate_up = [weights.pop(f"mlp.{name}_proj.weight") for name in ("gate", "up")]
    state = {"shared_mlp.input_linear.weight": torch.cat(gate_up)}
    state["shared_mlp.output_linear.weight"] = weights.pop("mlp.down_proj.weight")
    state |= {name.replace("self_attn.mixer.", "mamba."): value for name, value in weights.items()}
    own = target.state_dict()
    state |= {name: torch.zeros_like(own[name]) for name in ZEROS if name in own and name not in state}
    if unknown := sorted(set(state) - set(own)):
        raise NoNativeClass(f"granitemoehybrid has no {unknown[0]}, and layer {index + 1} of the path has one")
    target.load_state_dict(state)
