"""Writes a hybrid as a model of its base's own Hugging Face class, for tools without support for hybrids.

This is possible where the path is the base throughout: stages of the base, skipped stages, and donors that differ from
it in nothing but their weights, between projectors that are the identity. A path of a parent and its twin is written as
`granite_model` describes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import nn
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from manticore.components.component import copy_weights
from manticore.components.spec import SKIP
from manticore.errors import ManticoreError
from manticore.export.equality import check_equal
from manticore.export.granite import granite_model, runs_twin
from manticore.modeling.configuration_manticore import HybridConfig
from manticore.modeling.segments import BackboneLayout, select_layers
from manticore.modeling.twins import PREFIX

ATTENTION_KINDS = {"full_attention", "sliding_attention", "hybrid"}
"""Kinds of layers with keys and values, in models of attention and recurrent layers."""

ALLOWED = "allowed are stages of the base, skip, and donors of the base's configuration with projector=identity"


class NativeExport(NamedTuple):
    """A model of a class of transformers, and the paragraph about it in its card."""

    model: PreTrainedModel
    note: str


def native_export(hybrid: PreTrainedModel) -> NativeExport:
    """The model that a hybrid is written as without code of its own.

    A path with layers of a twin is compared with the hybrid before.

    Raises as `native_model` does, and NoNativeClass if the comparison finds a difference.
    """
    model = native_model(hybrid)
    name = type(model).__name__
    if not runs_twin(hybrid.config):
        note = f"All its layers are the base's, so it is written as a `{name}`, which needs no code of its own."
        return NativeExport(model, note)
    attention = [str(index) for index, kind in enumerate(model.config.layer_types, 1) if kind in ATTENTION_KINDS]
    note = (
        f"It is written as a `{name}`, which needs no code of its own: attention in the layers {', '.join(attention)} "
        f"of {len(model.config.layer_types)}, Mamba-2 in the others. {check_equal(hybrid, model).summary}"
    )
    return NativeExport(model, note)


def native_model(hybrid: PreTrainedModel) -> PreTrainedModel:
    """A model of the base's own class with the layers of a hybrid's path, with copies of its weights.

    Its logits are those of the hybrid: to the bit if all stages are the base's or skipped.

    Raises NoNativeClass if layers of a twin cannot be written as `granite_model` does. Raises ManticoreError if the
    hybrid is no language model, or if some stage is not one of the base's layers; the message says which, and what is
    allowed.
    """
    config: HybridConfig = hybrid.config
    if not hybrid.can_generate():
        raise ManticoreError(f"only language models have a class of their family; this hybrid's head is {config.head}")
    if runs_twin(config):
        return granite_model(hybrid)
    record, base_config = config.components[config.base], hybrid.model.base_config
    layout = BackboneLayout(**record["layout"])
    layers: list[int] = []
    sources: list[nn.Module] = []
    for stage, name in enumerate(config.path):
        if name == SKIP:
            continue
        _check_stage(config, stage)
        layers += range(*config.components[name]["layer_boundaries"][stage : stage + 2])
        sources += getattr(hybrid.model.stages[stage].segment.backbone, layout.layers)
    if not layers:
        raise ManticoreError(f"all stages are skipped; {ALLOWED}, and one of them that is not skipped")
    fields = {key: getattr(config, key) for key in ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id")}
    native_config = select_layers(base_config, layout, layers)
    if layout.embedding_multiplier is not None:
        fields[layout.embedding_multiplier] = getattr(base_config, layout.embedding_multiplier)
    _check_kinds(base_config, native_config, layout)
    for key, value in {**fields, "tie_word_embeddings": config.tie_word_embeddings}.items():
        setattr(native_config, key, value)
    native: PreTrainedModel = AutoModelForCausalLM.from_config(native_config).to(hybrid.dtype)
    backbone: Any = native.base_model
    parts = [
        (hybrid.model.embed.tokens, getattr(backbone, layout.tokens)),
        (hybrid.lm_head, native.get_output_embeddings()),
    ]
    parts += zip(sources, getattr(backbone, layout.layers), strict=True)
    norm = hybrid.model.norm
    if hybrid.model.wiring.norm_in_last_segment:
        norm = getattr(hybrid.model.stages[-1].segment.backbone, layout.norm)
    parts.append((norm, getattr(backbone, layout.norm)))
    if layout.positions is not None:
        parts.append((hybrid.model.positions[config.base], getattr(backbone, layout.positions)))
    for source, target in parts:
        copy_weights(source, target)
    native.generation_config = hybrid.generation_config
    return native.eval()


def _check_kinds(base: PretrainedConfig, config: PretrainedConfig, layout: BackboneLayout) -> None:
    """Raises ManticoreError if the layers that are left are too few kinds for the base's class.

    A twin has a cache of its own, and runs with layers of any kind.
    """
    if not (layout.recurrent and layout.has_attention) or base.model_type.startswith(PREFIX):
        return
    kinds, reason = set(config.layer_types), ""
    if not kinds & ATTENTION_KINDS:
        reason = "none of them has attention, and its cache needs a layer that has"
    elif base.model_type == "olmo_hybrid" and "linear_attention" not in kinds:
        reason = "its class needs a recurrent layer"
    if reason:
        raise ManticoreError(f"the layers on the path are no {base.model_type} by themselves: {reason}")


def _check_stage(config: HybridConfig, stage: int) -> None:
    """Raises ManticoreError unless the layers of a stage have the configuration of the base."""
    name, base = config.path[stage], config.components[config.base]
    if name == config.base:
        return
    label = f"stage {stage + 1} runs '{name}'"
    if name in config.ops:
        raise ManticoreError(f"{label}, an op, which no family has; {ALLOWED}")
    donor = config.components[name]
    if donor["config"]["model_type"] != base["config"]["model_type"]:
        kinds = donor["config"]["model_type"], base["config"]["model_type"]
        raise ManticoreError(f"{label}, a {kinds[0]}, and the base '{config.base}' is a {kinds[1]}; {ALLOWED}")
    if config.topology != "residual" or config.projector["kind"] != "identity" or config.projector.get("bypass"):
        raise ManticoreError(f"{label} between projectors of the kind {config.projector['kind']}; {ALLOWED}")
    if base["layout"]["positions"] is not None:
        raise ManticoreError(
            f"{label}, which adds its absolute positions again; {ALLOWED}, both without such positions"
        )
    keys = [key for key in {**donor["config"], **base["config"]} if not key.endswith("_token_id")]
    different = sorted(key for key in keys if donor["config"].get(key) != base["config"].get(key))
    if different:
        raise ManticoreError(f"{label}, whose configuration has another {different[0]} than the base; {ALLOWED}")
