"""From a supernet and a path to the discrete hybrid: an ordinary Hugging Face model that holds only the path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedModel

from manticore.components.spec import SKIP
from manticore.modeling.configuration_manticore import HybridConfig
from manticore.modeling.heads import HEADS
from manticore.modeling.modeling_manticore import model_class_of
from manticore.nas.architecture import Architecture
from manticore.nas.supernet import Supernet


def hybrid_config(supernet: Supernet, architecture: Architecture, **extra: Any) -> HybridConfig:
    """The configuration of the hybrid on a path. Only components on the path, and base, are named in it.

    Args:
        supernet: where the components and cuts come from.
        architecture: the path.
        extra: further fields of a Hugging Face configuration (id2label, pad_token_id, ...).
    """
    kept = [name for name in supernet.components if name in architecture.path or name == architecture.base]
    base = supernet.components[architecture.base]
    embed: Any = supernet.embeds[architecture.base]
    return HybridConfig(
        components={
            name: {**supernet.components[name].describe(), "layer_boundaries": supernet.layer_boundaries[name]}
            for name in kept
        },
        base=architecture.base,
        path=list(architecture.path),
        topology=architecture.topology,
        projector=supernet.projector,
        hidden_size=supernet.stream,
        vocab_size=embed.tokens.num_embeddings,
        head=supernet.readout.kind if supernet.readout.kind in HEADS else None,
        tie_word_embeddings=supernet.tied(base),
        **extra,
    )


def hybrid_state(supernet: Supernet, architecture: Architecture) -> dict[str, Tensor]:
    """The path's weights under the names they have in the hybrid."""
    base = architecture.base
    head = "head" if supernet.readout.kind == "lm" else "score"
    renamed = {
        f"embeds.{base}.": "model.embed.",
        f"norms.{base}.": "model.norm.",
        f"heads.{base}.": f"{head}.",
        "positions.": "model.positions.",
    }
    for stage, choice in enumerate(architecture.path):
        if choice != SKIP:
            renamed[f"stages.{stage}.{choice}."] = f"model.stages.{stage}."
    wanted = {base} if supernet.hub else {base, *architecture.path}
    state = {}
    for key, value in supernet.state_dict().items():
        for old, new in renamed.items():
            if key.startswith(old) and (old != "positions." or key.split(".")[1] in wanted):
                state[new + key[len(old) :]] = value
    if architecture.topology == "hub":  # at a one-hot alpha the paper's gates leave no projector
        state = {key: value for key, value in state.items() if ".proj_in." not in key and ".proj_out." not in key}
    return state


def discretize(supernet: Supernet, path: Sequence[str], **extra: Any) -> PreTrainedModel:
    """The hybrid on `path`, with copies of the supernet's weights, in evaluation mode."""
    architecture = supernet.architecture(path)
    config = hybrid_config(supernet, architecture, **extra)
    return build(config, supernet.readout.kind, hybrid_state(supernet, architecture))


def build(config: HybridConfig, kind: str, state: Mapping[str, Tensor]) -> PreTrainedModel:
    """A hybrid of the given configuration and weights. `kind` is that of a readout."""
    model: PreTrainedModel = model_class_of(kind)(config)
    model.load_state_dict(dict(state), strict=True)
    return model.eval()
