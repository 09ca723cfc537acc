"""A segment: the layers of one component between two cuts. Knows nothing of other components.

The layers run inside Hugging Face's own backbone class, built with fewer layers and fed `inputs_embeds`, so masks,
rotary tables and caches stay Hugging Face's. Embedding, positions and final norm are taken out of it.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import AutoModel, DynamicCache, PretrainedConfig

from .cache import tensors_of

try:  # manticore's kernels make these layers fast; an exported checkpoint runs without them
    from manticore import kernels
except ImportError:
    kernels = None  # type: ignore[assignment]


@dataclass(frozen=True)
class BackboneLayout:
    """Where a family's backbone keeps its parts: attribute names of the Hugging Face backbone class.

    Attributes:
        layers: the ModuleList of layers.
        norm: the final norm.
        tokens: the token embedding.
        positions: the absolute position embedding, if any.
        dropout: the dropout after the embedding, if any.
        recurrent: the layers carry a recurrent state (`cache_params`) rather than keys and values.
    """

    layers: str
    norm: str
    tokens: str
    positions: str | None = None
    dropout: str | None = None
    recurrent: bool = False


@dataclass
class Context:
    """What surrounds one forward pass; every branch sees the same one.

    Attributes:
        attention_mask: (B, past + L), 1 for tokens and 0 for padding, or None.
        position_ids: (1 or B, L).
        positions: by component, its absolute position vectors (1 or B, L, D_k).
        caches: by stage, that segment's cache; empty where nothing is cached.
        stepwise: recurrences must step over padding one token at a time: it stands behind tokens, or meets a cache.
    """

    attention_mask: Tensor | None
    position_ids: Tensor
    positions: dict[str, Tensor] = field(default_factory=dict)
    caches: list[DynamicCache | None] = field(default_factory=list)
    stepwise: bool = False

    def cache(self, stage: int) -> DynamicCache | None:
        """The cache of stage `stage` (from 0), or None."""
        return self.caches[stage] if self.caches else None


class NoPositions(nn.Module):
    """Stands where absolute positions were; they are added to the stream once, by the embedding."""

    def forward(self, position_ids: Tensor) -> Tensor:
        return torch.zeros((), device=position_ids.device)


PER_LAYER = ("layer_types", "attention_layers", "mlp_layer_types", "no_rope_layers")
"""Configuration fields that hold one entry for each layer."""


def slice_config(config: PretrainedConfig, start: int, stop: int) -> PretrainedConfig:
    """The configuration of layers `start` to `stop` of a model: per-layer lists are cut along with the layers."""
    held = config.to_dict()
    depth = config.num_hidden_layers
    for key, value in held.items():
        if key in PER_LAYER and isinstance(value, list) and len(value) == depth:
            held[key] = value[start:stop]
    if "attention_types" in held:  # GPT-Neo spells its per-layer list as [[pattern, repeats], ...]
        held["attention_types"] = [[[kind], 1] for kind in config.attention_layers[start:stop]]
    for key in ("pad_token_id", "bos_token_id", "eos_token_id", "dtype", "torch_dtype", "transformers_version"):
        held.pop(key, None)
    model_type = held.pop("model_type")
    depth_key = config.attribute_map.get("num_hidden_layers", "num_hidden_layers")
    held.update({depth_key: stop - start, "vocab_size": 1, "pad_token_id": None})
    held.update({"bos_token_id": None, "eos_token_id": None})
    sliced = type(config)(**held)
    sliced.model_type = model_type
    # "auto" asks transformers for the best attention this machine has; the choice of the source model is kept.
    sliced._attn_implementation = config._attn_implementation
    return sliced


class Segment(nn.Module):
    """Layers `start` to `stop` of a component: (B, L, D_k) -> (B, L, D_k).

    Args:
        config: the whole component's configuration.
        layout: where its backbone keeps its parts.
        start, stop: layer range.
        keep_norm: leave the final norm at the end (the hub topology's last stage).

    Attributes:
        recompute: gradient checkpointing: keep only this segment's input and compute the rest again in the backward
            pass (arXiv 1604.06174). Off unless set.
    """

    def __init__(
        self, config: PretrainedConfig, layout: BackboneLayout, start: int, stop: int, keep_norm: bool = False
    ) -> None:
        super().__init__()
        self.recurrent = layout.recurrent
        self.biased = layout.recurrent and bool(getattr(config, "use_bias", False))
        backbone = AutoModel.from_config(slice_config(config, start, stop))
        setattr(backbone, layout.tokens, nn.Identity())
        if not keep_norm:
            setattr(backbone, layout.norm, nn.Identity())
        if layout.positions:
            setattr(backbone, layout.positions, NoPositions())
        if layout.dropout:
            setattr(backbone, layout.dropout, nn.Identity())
        self.backbone = backbone
        self.recompute = False

    def new_cache(self) -> DynamicCache:
        """An empty cache of the kind this segment's own class makes."""
        return DynamicCache(config=self.backbone.config)

    @property
    def windowed(self) -> bool:
        """Some layer sees only so many tokens back, and counts padding among them."""
        return any(self.new_cache().is_sliding) or "local" in getattr(self.backbone.config, "attention_layers", ())

    def forward(self, x_BLD: Tensor, context: Context, stage: int) -> Tensor:
        cache = context.cache(stage)
        if self.recompute and cache is None and torch.is_grad_enabled():
            out: Tensor = checkpoint(self._run, x_BLD, context, None, use_reentrant=False)
            return out
        return self._run(x_BLD, context, cache)

    def _run(self, x_BLD: Tensor, context: Context, cache: DynamicCache | None) -> Tensor:
        with nullcontext() if kernels is None else kernels.installed():
            return (self._recur if self.recurrent else self._attend)(x_BLD, context, cache)

    def _attend(self, x_BLD: Tensor, context: Context, cache: DynamicCache | None) -> Tensor:
        out: Tensor = self.backbone(
            inputs_embeds=x_BLD,
            attention_mask=context.attention_mask,
            position_ids=context.position_ids,
            past_key_values=cache,
            use_cache=cache is not None,
        )[0]
        return out

    def _recur(self, x_BLD: Tensor, context: Context, cache: DynamicCache | None) -> Tensor:
        length = x_BLD.shape[1]
        mask_BL = None if context.attention_mask is None else context.attention_mask[:, -length:]
        if mask_BL is not None and (context.stepwise or self.biased):
            return self._step_over(x_BLD, mask_BL, self.new_cache() if cache is None else cache)
        if kernels is not None or cache is None or length == 1 or not _has_state(cache):
            return self._scan(x_BLD, mask_BL, cache)
        # By itself transformers' scan starts from a zero state whenever it sees more than one token.
        masks = [None] * length if mask_BL is None else list(mask_BL.split(1, dim=1))
        steps = zip(x_BLD.split(1, dim=1), masks, strict=True)
        return torch.cat([self._scan(x_B1D, mask_B1, cache) for x_B1D, mask_B1 in steps], dim=1)

    def _step_over(self, x_BLD: Tensor, mask_BL: Tensor, cache: DynamicCache) -> Tensor:
        """Token by token; where one is padding, state and convolution stay what they were."""
        out = []
        for x_B1D, mask_B1 in zip(x_BLD.split(1, dim=1), mask_BL.split(1, dim=1), strict=True):
            before = [[held.clone() for held in tensors_of(layer)] for layer in cache.layers]
            out.append(self._scan(x_B1D, None, cache))
            if mask_B1.all():
                continue
            for layer, old in zip(cache.layers, before, strict=True):
                for place, now in enumerate(tensors_of(layer)):
                    rows = mask_B1.bool().view(-1, *[1] * (now.dim() - 1))
                    now.copy_(torch.where(rows, now, old[place] if old else torch.zeros_like(now)))
        return torch.cat(out, dim=1)

    def _scan(self, x_BLD: Tensor, mask_BL: Tensor | None, cache: DynamicCache | None) -> Tensor:
        out: Tensor = self.backbone(
            inputs_embeds=x_BLD, attention_mask=mask_BL, cache_params=cache, use_cache=cache is not None
        )[0]
        return out.to(x_BLD.dtype)  # a backbone may keep its residuals in fp32


def _has_state(cache: DynamicCache) -> bool:
    return any(any(layer.has_previous_state.values()) for layer in cache.layers)


def submodule_or_identity(backbone: nn.Module, name: str | None) -> Any:
    """The backbone's part called `name`, or an identity where the family has none."""
    return nn.Identity() if name is None else getattr(backbone, name)


class Embedding(nn.Module):
    """Token embedding (B, L) -> (B, L, D_k), with base's absolute positions and dropout where the family has them."""

    def __init__(self, tokens: nn.Embedding, dropout: nn.Module) -> None:
        super().__init__()
        self.tokens = tokens
        self.dropout = dropout

    def forward(self, input_ids: Tensor, positions: Tensor | None) -> Tensor:
        x_BLD = self.tokens(input_ids)
        out: Tensor = self.dropout(x_BLD if positions is None else x_BLD + positions)
        return out


def shell_config(config: PretrainedConfig, vocab_size: int) -> PretrainedConfig:
    """A component's configuration without layers: what is left of its backbone is embedding, positions and norm."""
    shell = slice_config(config, 0, 0)
    shell.vocab_size = vocab_size
    return shell
