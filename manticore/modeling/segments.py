"""A segment: consecutive layers of one component, the unit that a path selects at each stage.

The layers run inside their own Hugging Face backbone class, built with fewer layers and called with `inputs_embeds`, so
masks, rotary tables and caches are Hugging Face's. Embedding, absolute positions and final norm are taken out of it and
belong to the hybrid.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModel, Cache, DynamicCache, PretrainedConfig

from .cache import state_tensors
from .cached_steps import check_frequencies, limited_steps
from .effective_weights import effective_weights

try:  # manticore's kernels make these layers fast; an exported checkpoint runs without them
    from manticore import kernels
except ImportError:
    kernels = None  # type: ignore[assignment]


@dataclass(frozen=True)
class BackboneLayout:
    """Where a family's backbone has its submodules: attribute names of the Hugging Face backbone class.

    Attributes:
        layers: the ModuleList of layers.
        norm: the final norm.
        tokens: the token embedding.
        positions: the absolute position embedding, or None.
        dropout: the dropout after the embedding, or None.
        recurrent: whether some layers have a recurrent state, or the window of a convolution.
        cache_argument: the argument of the backbone that takes the cache. A backbone with `past_key_values` reads
            positions and the mask of past and new tokens, one with `cache_params` neither. Default: `cache_params` for
            recurrent layers, `past_key_values` for others.
        embedding_multiplier: the configuration field with a factor of the embeddings, or None.
        logits_multiplier, logits_divisor, logits_cap: configuration fields with factors and the soft cap of the
            logits, or None.
        raw_weights: linear modules of a layer whose weights transformers or a kernel reads without calling the module.
    """

    layers: str
    norm: str
    tokens: str
    positions: str | None = None
    dropout: str | None = None
    recurrent: bool = False
    cache_argument: str = ""
    embedding_multiplier: str | None = None
    logits_multiplier: str | None = None
    logits_divisor: str | None = None
    logits_cap: str | None = None
    raw_weights: Sequence[str] = ()

    @property
    def has_attention(self) -> bool:
        """Whether some layers have attention, and the backbone reads positions: models without it are Mamba alone."""
        return (self.cache_argument or ("cache_params" if self.recurrent else "past_key_values")) == "past_key_values"

    def factor(self, config: PretrainedConfig, name: str) -> float:
        """The value of the configuration field that the attribute `name` names; 1 if it names none."""
        field_name: str | None = getattr(self, name)
        value = None if field_name is None else getattr(config, field_name)
        return 1.0 if value is None else float(value)


@dataclass
class Context:
    """Inputs of one forward pass that all branches share.

    Attributes:
        attention_mask: (B, past + L), 1 for tokens and 0 for padding, or None.
        position_ids: (1 or B, L).
        positions: by component, its absolute position vectors (1 or B, L, D_k).
        caches: by stage, the cache of its segment or op; empty without a cache.
        stepwise: whether recurrent segments must run one token at a time to step over padding, because padding follows
            tokens or a state.
        attention_instances: by layer of the path, the attention of a backend that brings its own (`serving`); empty
            where transformers' attention runs.
    """

    attention_mask: Tensor | None
    position_ids: Tensor
    positions: dict[str, Tensor] = field(default_factory=dict)
    caches: list[Cache | None] = field(default_factory=list)
    stepwise: bool = False
    attention_instances: dict[int, Any] = field(default_factory=dict)

    def cache(self, stage: int) -> Cache | None:
        """The cache of stage `stage` (from 0), or None."""
        return self.caches[stage] if self.caches else None


class ZeroPositions(nn.Module):
    """Replaces a backbone's position embedding: the hybrid adds absolute positions itself."""

    def forward(self, position_ids: Tensor) -> Tensor:
        return torch.zeros((), device=position_ids.device)


PER_LAYER = ("layer_types", "layers_block_type", "attention_layers", "mlp_layer_types", "no_rope_layers")
"""Configuration fields with one entry for each layer."""

LAYER_INDICES = ("attn_layer_indices", "full_attn_idxs")
"""Configuration fields with the indices of some layers."""

STATE_BIASES = ("use_bias", "mamba_proj_bias", "conv_bias")
"""Configuration fields with a bias before the state of a recurrent layer."""


STATEFUL_KINDS = {"linear_attention", "conv", "mlp"}
"""Kinds of layers without keys and values, in a backbone that has attention."""


def select_layers(config: PretrainedConfig, layout: BackboneLayout, layers: Sequence[int]) -> PretrainedConfig:
    """The configuration of some layers of a model, given by index, with per-layer lists selected like the layers.

    A factor of the embeddings becomes 1: some backbones apply it to `inputs_embeds`.
    """
    fields = config.to_dict()
    depth = config.num_hidden_layers
    for key, value in fields.items():
        if key in PER_LAYER and isinstance(value, list) and len(value) >= depth:
            fields[key] = [value[layer] for layer in layers]
        if key in LAYER_INDICES and value is not None:
            fields[key] = [index for index, layer in enumerate(layers) if layer in value]
    if layout.embedding_multiplier is not None:
        fields[layout.embedding_multiplier] = 1.0
    if "attention_types" in fields:  # GPT-Neo writes its per-layer list as [[pattern, repeats], ...]
        fields["attention_types"] = [[[config.attention_layers[layer]], 1] for layer in layers]
    for key in ("pad_token_id", "bos_token_id", "eos_token_id", "dtype", "torch_dtype", "transformers_version"):
        fields.pop(key, None)
    model_type = fields.pop("model_type")
    depth_key = config.attribute_map.get("num_hidden_layers", "num_hidden_layers")
    fields.update({depth_key: len(layers), "vocab_size": 1, "pad_token_id": None})
    fields.update({"bos_token_id": None, "eos_token_id": None})
    try:
        selected = type(config)(**fields)
    except Exception:  # OLMo Hybrid checks that a model has layers of both kinds, which a segment need not have
        selected = copy.deepcopy(config)
        for key, value in fields.items():
            setattr(selected, key, value)
    selected.model_type = model_type
    # Not "auto", which selects the best attention of this machine: the segment uses that of the source model.
    selected._attn_implementation = config._attn_implementation
    return selected


def empty_config(config: PretrainedConfig, layout: BackboneLayout, vocab_size: int) -> PretrainedConfig:
    """The configuration of a backbone without layers: embedding, positions and final norm remain."""
    empty = select_layers(config, layout, ())
    empty.vocab_size = vocab_size
    return empty


def submodule_or_identity(backbone: nn.Module, name: str | None) -> Any:
    """The backbone's submodule `name`, or an identity if the family has none."""
    return nn.Identity() if name is None else getattr(backbone, name)


class Embedding(nn.Module):
    """Token embedding with the base's absolute positions and dropout, if its family has them: (B, L) -> (B, L, D).

    Args:
        tokens: the table.
        dropout: the dropout after it.
        multiplier: a factor of its rows.
    """

    def __init__(self, tokens: nn.Embedding, dropout: nn.Module, multiplier: float = 1.0) -> None:
        super().__init__()
        self.tokens = tokens
        self.dropout = dropout
        self.multiplier = multiplier

    @classmethod
    def of(cls, backbone: nn.Module, config: PretrainedConfig, layout: BackboneLayout) -> Embedding:
        """The embedding of a backbone, with its own modules."""
        tokens, dropout = getattr(backbone, layout.tokens), submodule_or_identity(backbone, layout.dropout)
        return cls(tokens, dropout, layout.factor(config, "embedding_multiplier"))

    def forward(
        self, input_ids: Tensor | None, positions: Tensor | None, inputs_embeds: Tensor | None = None
    ) -> Tensor:
        """Look up `input_ids` (B, L), or take their rows of the table as `inputs_embeds` (B, L, D)."""
        x_BLD = self.tokens(input_ids) if inputs_embeds is None else inputs_embeds
        x_BLD = x_BLD if self.multiplier == 1.0 else x_BLD * self.multiplier
        out: Tensor = self.dropout(x_BLD if positions is None else x_BLD + positions)
        return out


class Segment(nn.Module):
    """Layers `start` to `stop` of a component: (B, L, D_k) -> (B, L, D_k).

    Args:
        config: configuration of the whole component.
        layout: where its backbone has its submodules.
        start, stop: range of layers.
        keep_norm: keep the component's final norm at the end.

    Attributes:
        recurrent: whether some layer has a recurrent state.
        mixers: modules of recurrent layers with a state.
        has_attention: whether the backbone reads positions, and past tokens from keys and values.
        stateful_kinds: kinds of the layers, if the backbone has attention and these layers have none; empty otherwise.
        biased: whether recurrent layers have biases, so that padding would change their state even if its input is 0.
        windowed: whether some layer has a sliding window, in which padding counts.
        first_layer: index of its first layer on the path of a discrete hybrid.
        gradient_checkpointing: store only the segment's input and recompute the rest in the backward pass
            (arXiv 1604.06174). False unless set.
    """

    def __init__(
        self, config: PretrainedConfig, layout: BackboneLayout, start: int, stop: int, keep_norm: bool = False
    ) -> None:
        super().__init__()
        self.recurrent, self.has_attention = layout.recurrent, layout.has_attention
        kinds = {str(kind) for kind in (getattr(config, "layer_types", None) or ())[start:stop]}
        self.stateful_kinds = kinds if self.has_attention and kinds and kinds <= STATEFUL_KINDS else set()
        self.biased = layout.recurrent and any(getattr(config, name, False) for name in STATE_BIASES)
        backbone = AutoModel.from_config(select_layers(config, layout, range(start, stop)))
        setattr(backbone, layout.tokens, nn.Identity())
        if not keep_norm:
            setattr(backbone, layout.norm, nn.Identity())
        if layout.positions:
            setattr(backbone, layout.positions, ZeroPositions())
        if layout.dropout:
            setattr(backbone, layout.dropout, nn.Identity())
        if any(part._non_persistent_buffers_set for part in getattr(backbone, layout.layers).modules()):
            # Where such buffers are set by the backbone and not by their layer (Falcon-H1), loading a checkpoint with
            # code of its own would pass a backbone over that has no tensor itself.
            backbone.register_buffer("unsaved", torch.zeros(1), persistent=False)
        self.backbone = backbone
        self.mixers = [module for module in backbone.modules() if hasattr(module, "A_log")]
        self.windowed = any(self.new_cache().is_sliding) or "local" in getattr(backbone.config, "attention_layers", ())
        self.first_layer = 0
        self.gradient_checkpointing = False

    def new_cache(self) -> DynamicCache:
        """An empty cache with the layers of this segment's configuration."""
        return DynamicCache(config=self.backbone.config)

    def forward(self, x_BLD: Tensor, context: Context, stage: int) -> Tensor:
        cache = context.cache(stage)
        if self.gradient_checkpointing and cache is None and torch.is_grad_enabled():
            out: Tensor = checkpoint(self._run, x_BLD, context, None, use_reentrant=False)
            return out
        return self._run(x_BLD, context, cache)

    def _run(self, x_BLD: Tensor, context: Context, cache: DynamicCache | None) -> Tensor:
        with kernels.installed() if _must_install() else nullcontext():
            return self.run_layers(x_BLD, context, cache)

    def run_layers(self, x_BLD: Tensor, context: Context, cache: DynamicCache | None) -> Tensor:
        """As `forward`, on a cache of this segment's own, without manticore's kernels."""
        if not self.has_attention:
            return self._run_recurrent(x_BLD, context, cache)
        mask = context.attention_mask
        if self.recurrent and mask is not None and (context.stepwise or self.biased):
            return self._step_over_padding(x_BLD, context, self.new_cache() if cache is None else cache)
        return self._run_attention(x_BLD, context, cache)

    def _run_attention(self, x_BLD: Tensor, context: Context, cache: DynamicCache | None) -> Tensor:
        mask: Any = context.attention_mask
        past = 0
        if self.stateful_kinds:  # transformers builds no masks for a cache without keys
            length = x_BLD.shape[1]
            mask = dict.fromkeys(self.stateful_kinds, None if mask is None or length == 1 else mask[:, -length:])
        elif cache is not None:
            past = cache.get_seq_length()
        check_frequencies(self.backbone.config, past, context.position_ids)
        options: dict[str, Any] = {}
        if context.attention_instances:  # a layer looks its own up by its index in this backbone
            own = {index - self.first_layer: item for index, item in context.attention_instances.items()}
            options["attention_instances"] = own
        is_step = self.recurrent and cache is not None and x_BLD.shape[1] == 1
        with effective_weights(self.mixers, x_BLD), limited_steps(self.backbone) if is_step else nullcontext():
            out: Tensor = self.backbone(
                inputs_embeds=x_BLD,
                attention_mask=mask,
                position_ids=context.position_ids,
                past_key_values=cache,
                use_cache=cache is not None,
                **options,
            )[0]
        return out

    def _run_recurrent(self, x_BLD: Tensor, context: Context, cache: DynamicCache | None) -> Tensor:
        length = x_BLD.shape[1]
        mask_BL = None if context.attention_mask is None else context.attention_mask[:, -length:]
        if mask_BL is not None and (context.stepwise or self.biased):
            return self._step_over_padding(x_BLD, context, self.new_cache() if cache is None else cache)
        if _uses_kernels() or cache is None or length == 1 or not _has_state(cache):
            return self._scan(x_BLD, mask_BL, cache)
        # transformers' own scan of several tokens starts from a zero state, so a cached state is advanced token by
        # token.
        masks = [None] * length if mask_BL is None else list(mask_BL.split(1, dim=1))
        steps = zip(x_BLD.split(1, dim=1), masks, strict=True)
        return torch.cat([self._scan(x_B1D, mask_B1, cache) for x_B1D, mask_B1 in steps], dim=1)

    def _step_over_padding(self, x_BLD: Tensor, context: Context, cache: DynamicCache) -> Tensor:
        """Run token by token; rows whose token is padding get their state and convolution window back."""
        mask, outputs = context.attention_mask, []
        assert mask is not None
        past = mask.shape[1] - x_BLD.shape[1]
        for index, x_B1D in enumerate(x_BLD.split(1, dim=1)):
            seen, mask_B1 = mask[:, : past + index + 1], mask[:, past + index, None]
            saved = [[tensor.clone() for tensor in state_tensors(layer)] for layer in cache.layers]
            if self.has_attention:
                positions = context.position_ids[:, index, None]
                outputs.append(self._run_attention(x_B1D, Context(seen, positions), cache))
            else:
                outputs.append(self._scan(x_B1D, None, cache))
            if mask_B1.all():
                continue
            for layer, before in zip(cache.layers, saved, strict=True):
                for number, after in enumerate(state_tensors(layer)):
                    is_token = mask_B1.bool().view(-1, *[1] * (after.dim() - 1))
                    # A layer that had no state before this step starts from zeros.
                    after.copy_(torch.where(is_token, after, before[number] if before else torch.zeros_like(after)))
        return torch.cat(outputs, dim=1)

    def _scan(self, x_BLD: Tensor, mask_BL: Tensor | None, cache: DynamicCache | None) -> Tensor:
        is_step = cache is not None and x_BLD.shape[1] == 1
        with effective_weights(self.mixers, x_BLD), limited_steps(self.backbone) if is_step else nullcontext():
            out: Tensor = self.backbone(
                inputs_embeds=x_BLD, attention_mask=mask_BL, cache_params=cache, use_cache=cache is not None
            )[0]
        return out.to(x_BLD.dtype)  # a backbone may keep its residuals in fp32


def _uses_kernels() -> bool:
    """Whether layers run in manticore's kernels: not in a checkpoint without it, nor in programs that torch exports.

    In a graph that torch compiles only after `kernels.install`, because it cannot patch transformers.
    """
    if kernels is None:
        return False
    return not torch.compiler.is_compiling() or (kernels.remains_installed() and not torch.compiler.is_exporting())


def _must_install() -> bool:
    """Whether a pass has to install the kernels itself, which takes a lock."""
    return kernels is not None and not torch.compiler.is_compiling() and not kernels.remains_installed()


def kernels_run() -> bool:
    """Whether transformers' layers run in manticore's kernels now."""
    return kernels is not None and kernels.is_installed() and _uses_kernels()


def _has_state(cache: DynamicCache) -> bool:
    return any(any(layer.has_previous_state.values()) for layer in cache.layers)
