"""A component in memory: a Hugging Face model that can be cut into segments."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from manticore.components.families import Family
from manticore.components.licenses import License
from manticore.errors import ManticoreError
from manticore.modeling.segments import BackboneLayout, Segment


def layer_boundaries(layers: int, stages: int) -> list[int]:
    """The S + 1 layer boundaries s N / S, rounded; S need not divide N: `layer_boundaries(7, 3) == [0, 2, 5, 7]`.

    Halves are rounded so that the stage nearer to an end of the model gets the layer: `layer_boundaries(6, 4) ==
    [0, 2, 3, 4, 6]` and `layer_boundaries(10, 4) == [0, 3, 5, 7, 10]`. So the boundaries of components of different
    depth stay at similar fractions of the depth, and the middle stages, where a donor costs the least loss, are small.
    """
    first_half = [(2 * stage * layers + stages) // (2 * stages) for stage in range(stages // 2 + 1)]
    return first_half + [layers - first_half[stages - stage] for stage in range(stages // 2 + 1, stages + 1)]


def weight_hash(model: nn.Module) -> str:
    """BLAKE2b over names, types, shapes and bytes of a model's parameters, sorted by name; equal in any process."""
    digest = hashlib.blake2b(digest_size=16)
    for name, parameter in sorted(model.named_parameters()):
        digest.update(f"{name} {parameter.dtype} {tuple(parameter.shape)}\n".encode())
        digest.update(parameter.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return f"blake2b:{digest.hexdigest()}"


@dataclass
class Component:
    """A loaded model and its origin.

    Attributes:
        name: name in paths and tables.
        family: its row in the table of families.
        model: the Hugging Face causal language model.
        source: alias, hub id or folder; ends with `(from scratch)` for random weights.
        revision: revision on the hub; None for other sources.
        pretrained: whether its weights were loaded, not drawn at random.
        tokenizer: its tokenizer; None if its folder has none.
        license: licence of its weights; None if it is unknown.
    """

    name: str
    family: Family
    model: PreTrainedModel
    source: str
    revision: str | None = None
    pretrained: bool = True
    tokenizer: PreTrainedTokenizerBase | None = None
    license: License | None = None

    @property
    def config(self) -> PretrainedConfig:
        """The model's own configuration."""
        return self.model.config

    @property
    def layout(self) -> BackboneLayout:
        """Attribute names of its backbone."""
        return self.family.layout

    @property
    def backbone(self) -> nn.Module:
        """The model without its head."""
        backbone: nn.Module = self.model.base_model
        return backbone

    @property
    def width(self) -> int:
        """Features of the residual stream, D_k."""
        return int(self.config.hidden_size)

    @property
    def depth(self) -> int:
        """Number of layers, N_k."""
        return int(self.config.num_hidden_layers)

    @property
    def head(self) -> nn.Linear:
        """The next-token head. Raises ManticoreError for a model object that has none."""
        head: nn.Linear | None = self.model.get_output_embeddings()
        if head is None:
            raise ManticoreError(
                f"'{self.name}' is a {type(self.model).__name__}, which has no next-token head; give a causal language "
                "model, such as AutoModelForCausalLM loads"
            )
        return head

    @property
    def tied(self) -> bool:
        """Whether the next-token head has the weights of the embedding table."""
        tokens: nn.Module = getattr(self.backbone, self.layout.tokens)
        return bool(self.head.weight is tokens.weight)

    @cached_property
    def weight_hash(self) -> str:
        """Hash of the parameters, computed once: supernets copy the weights of a component and never change them."""
        return weight_hash(self.model)

    def shares_stream(self, base: Component) -> bool:
        """Whether its stream is that of another component: one is the other's twin, or both are of one parent."""
        keys = [getattr(component.config, "parent_weights", None) for component in (self, base)]
        if keys == [None, None] or self.width != base.width:
            return False
        return (keys[0] or self.weight_hash) == (keys[1] or base.weight_hash)

    def layer_boundaries(self, stages: int) -> list[int]:
        """Layer boundaries of the S segments. Raises ManticoreError if a segment would have no layer."""
        if stages > self.depth:
            raise ManticoreError(
                f"{stages} stages are more than the {self.depth} layers of '{self.name}'; use at most {self.depth}"
            )
        return layer_boundaries(self.depth, stages)

    def segment(self, start: int, stop: int, keep_norm: bool = False) -> Segment:
        """Layers `start` to `stop` with a copy of their weights, and of the final norm's if `keep_norm`."""
        segment = Segment(self.config, self.layout, start, stop, keep_norm)
        layers, norm = self.layout.layers, self.layout.norm
        source, target = getattr(self.backbone, layers)[start:stop], getattr(segment.backbone, layers)
        for source_layer, target_layer in zip(source, target, strict=True):
            copy_weights(source_layer, target_layer)
        if keep_norm:
            copy_weights(getattr(self.backbone, norm), getattr(segment.backbone, norm))
        return segment

    def describe(self) -> dict[str, Any]:
        """The entry of this component in the configuration of an exported hybrid."""
        config = self.config.to_dict()
        for key in ("dtype", "torch_dtype", "transformers_version", "architectures", "_name_or_path"):
            config.pop(key, None)
        return {
            "config": config,
            "layout": asdict(self.layout),
            "source": self.source,
            "revision": self.revision,
            "pretrained": self.pretrained,
            "head_bias": getattr(self.model.get_output_embeddings(), "bias", None) is not None,
        }


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy all weights, unless the target is on the meta device, where modules have shapes only."""
    if not any(parameter.is_meta for parameter in target.parameters()):
        target.load_state_dict(source.state_dict())
