"""Discretization: from a supernet and a path to an ordinary Hugging Face model with the modules of the path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from manticore.adapters.attach import reattach
from manticore.adapters.base import Adapter, adapted_layers
from manticore.components.generation import generation_config_of
from manticore.components.spec import SKIP
from manticore.errors import ManticoreError, shown
from manticore.modeling.configuration_manticore import HybridConfig
from manticore.modeling.heads import HEADS
from manticore.modeling.modeling_manticore import model_class_of
from manticore.nas.architecture import Architecture
from manticore.nas.op_modules import op_record, register_ops
from manticore.nas.routed_projectors import ROUTING, collapsed_weights
from manticore.nas.supernet import Supernet


def discretize(supernet: Supernet, path: Sequence[str], **config_fields: Any) -> PreTrainedModel:
    """The hybrid on `path`, with copies of the supernet's weights, in evaluation mode.

    A language model has the generation config of its base. Adapters of the supernet are those of the hybrid, and what
    is frozen stays frozen.

    Args:
        supernet: the searched model.
        path: a candidate for each stage.
        config_fields: further fields of the Hugging Face configuration (id2label, pad_token_id, ...).

    Raises ManticoreError if `supernet` is another object, and UnknownName or ManticoreError for a path that is none of
    its space.
    """
    if not isinstance(supernet, Supernet):
        raise ManticoreError(
            f"mc.discretize takes a Supernet, not {shown(supernet)}; mc.nn.discretize takes a model of MixedOps, and "
            "the result of a search has discretize(path)"
        )
    architecture = supernet.architecture(path)
    config = hybrid_config(supernet, architecture, **config_fields)
    adapters = hybrid_adapters(supernet, architecture)
    hybrid = build_hybrid(config, supernet.head_spec.kind, hybrid_state(supernet, architecture), adapters)
    if adapters:
        own, trained = dict(supernet.named_parameters()), dict(hybrid.named_parameters())
        for old, new in _weight_names(supernet, architecture).items():
            if old in own and new in trained:
                trained[new].requires_grad_(own[old].requires_grad)
    if hybrid.can_generate():
        hybrid.generation_config = generation_config_of(supernet.components[architecture.base], config)
    return hybrid


def hybrid_config(supernet: Supernet, architecture: Architecture, **config_fields: Any) -> HybridConfig:
    """The configuration of the hybrid on a path. It names the base model, and the components and ops on the path."""
    names = [name for name in supernet.components if name in architecture.path or name == architecture.base]
    used = {name: op for name, op in supernet.ops.items() if name in architecture.path}
    register_ops(list(used.values()), supernet.head_spec.kind)  # another space may have another op of this name
    base = supernet.components[architecture.base]
    embed: Any = supernet.embeds[architecture.base]
    boundaries = supernet.layer_boundaries
    if supernet.head_spec.labels and "id2label" not in config_fields:
        config_fields["num_labels"] = supernet.head_spec.labels
    return HybridConfig(
        components={
            name: {
                **supernet.components[name].describe(),
                "layer_boundaries": boundaries[name],
                **({"same_stream": True} if name in supernet.same_stream else {}),
            }
            for name in names
        },
        base=architecture.base,
        path=list(architecture.path),
        topology=architecture.topology,
        projector=supernet.projector,
        hidden_size=supernet.stream,
        vocab_size=embed.tokens.num_embeddings,
        head=supernet.head_spec.kind if supernet.head_spec.kind in HEADS else None,
        tie_word_embeddings=supernet.head_spec.kind == "lm" and base.tied,
        ops={name: op_record(op) for name, op in used.items()},
        **config_fields,
    )


def hybrid_state(supernet: Supernet, architecture: Architecture) -> dict[str, Tensor]:
    """The weights of the path, under their names in the hybrid."""
    state = supernet.state_dict() | collapsed_weights(supernet, architecture.path)
    return {new: state[old] for old, new in _weight_names(supernet, architecture).items()}


def load_path(supernet: Supernet, hybrid: PreTrainedModel) -> None:
    """Copy the weights of a hybrid back into the supernet that it is a path of; the inverse of `discretize`."""
    names = _weight_names(supernet, supernet.architecture(hybrid.config.path))
    state = hybrid.state_dict()
    supernet.load_state_dict({old: state[new] for old, new in names.items()}, strict=False)


def _weight_names(supernet: Supernet, architecture: Architecture) -> dict[str, str]:
    """The names in the hybrid of the weights of the path, by their names in the supernet."""
    base = architecture.base
    head = "lm_head" if supernet.head_spec.kind == "lm" else "score"
    renamed = {f"embeds.{base}.": "model.embed.", f"norms.{base}.": "model.norm.", f"heads.{base}.": f"{head}."}
    for name in supernet.wiring.position_tables(base, architecture.path):
        renamed[f"positions.{name}."] = f"model.positions.{name}."
    branches = {
        f"stages.{stage}.{choice}.": f"model.stages.{stage}."
        for stage, choice in enumerate(architecture.path)
        if choice != SKIP
    }
    kept = [key for key in supernet.state_dict() if f".{ROUTING}." not in key]
    return {
        key: new + key.removeprefix(old)
        for key in kept
        for old, new in (renamed | branches).items()
        if key.startswith(old) and (old not in branches or supernet.topology.has_weight(key.removeprefix(old)))
    }


def hybrid_adapters(supernet: Supernet, architecture: Architecture) -> dict[str, Adapter]:
    """The adapters of the path, by the names of their layers in the hybrid."""
    layers = {}
    for name, _, adapter in adapted_layers(supernet):
        _, stage, choice, rest = name.split(".", 3)
        if architecture.path[int(stage)] == choice:
            layers[f"model.stages.{stage}.{rest}"] = adapter
    return layers


def build_hybrid(
    config: HybridConfig, kind: str, state: Mapping[str, Tensor], adapters: Mapping[str, Adapter] | None = None
) -> PreTrainedModel:
    """A hybrid of the given configuration and weights. `kind` is the kind of its head; adapters are by layer."""
    model: PreTrainedModel = model_class_of(kind)(config)
    reattach(model, adapters or {})
    model.load_state_dict(dict(state), strict=True)
    return model.eval()
