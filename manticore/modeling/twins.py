"""Twins: models of a parent's own classes with a recurrent mixer in place of attention, in all layers or in some.

Width, depth, norms, feed-forward layers, embedding and head are the parent's; so are their names, and its forward pass
runs them. A mixer is transformers' Mamba (arXiv 2312.00752) or Mamba-2 (arXiv 2405.21060). The classes are made from
those of transformers when this file is imported, and are called like them: `TwinLlamaForCausalLM`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    DynamicCache,
    Mamba2Config,
    MambaConfig,
)
from transformers.masking_utils import create_masks_for_generate
from transformers.models.mamba.modeling_mamba import MambaMixer
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

from .segments import kernels_run

PARENTS = {
    "llama": ("layers", "self_attn"),
    "mistral": ("layers", "self_attn"),
    "qwen2": ("layers", "self_attn"),
    "qwen3": ("layers", "self_attn"),
    "gpt_neox": ("layers", "attention"),
    "gpt2": ("h", "attn"),
    "gpt_neo": ("h", "attn"),
}
"""Model types that have a twin: the names of the backbone's layers and of the attention in a layer."""

PREFIX = "twin_"
"""The model type of a twin is that of its parent behind this prefix."""

MIXERS = ("mamba2", "mamba")
"""Kinds of mixers."""

RECURRENT = "linear_attention"
"""Kind of a recurrent layer in `layer_types`."""

CHUNK_SIZE = 64
"""Tokens of a chunk of Mamba-2 in transformers' own scan."""


class TwinFields:
    """What the configuration of a twin has besides the fields of its parent's.

    Attributes:
        mixer: `mamba2` or `mamba`.
        layer_types: the kind of each layer, `linear_attention` for a recurrent one. Default: all are recurrent.
        mamba_d_state: features of the state for each channel. Default: those of a head of attention for Mamba-2, 16 for
            Mamba.
        mamba_expand: channels of the mixer, in units of the width.
        mamba_n_heads: heads of Mamba-2. Default: as many as have the size of attention's heads.
        mamba_n_groups: groups of heads of Mamba-2 that share B and C. Default: a group for each head.
        mamba_d_conv: tokens of the convolution.
        mamba_out_bias: whether the output projection has a bias.
        parent_weights: hash of the weights of the parent that it was grown from, or None.
    """

    mixer: str = "mamba2"
    mamba_d_state: int | None = None
    mamba_expand: int = 1
    mamba_n_heads: int | None = None
    mamba_n_groups: int | None = None
    mamba_d_conv: int = 4
    mamba_out_bias: bool = False
    parent_weights: str | None = None


def complete_sizes(config: Any, layer_types: list[str] | None) -> None:
    """Set the sizes of a twin's mixers that are None. Raises ValueError for an unknown mixer, or sizes that do not fit.

    `layer_types` are those that were passed to the configuration.
    """
    if config.mixer not in MIXERS:
        raise ValueError(f"mixer must be {' or '.join(MIXERS)}, got {config.mixer!r}")
    if layer_types is None:
        config.layer_types = [RECURRENT] * config.num_hidden_layers
    inner = config.mamba_expand * config.hidden_size
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if config.mixer == "mamba":
        config.mamba_d_state = config.mamba_d_state or 16
        config.mamba_n_heads = config.mamba_n_groups = None
        return
    if config.mamba_n_heads is None:
        config.mamba_n_heads = inner // width if inner % width == 0 else config.num_attention_heads
    config.mamba_n_groups = config.mamba_n_groups or config.mamba_n_heads
    config.mamba_d_state = config.mamba_d_state or width
    if inner % config.mamba_n_heads or config.mamba_n_heads % config.mamba_n_groups:
        raise ValueError(
            f"mamba_n_heads ({config.mamba_n_heads}) must divide the {inner} channels of the mixer, and "
            f"mamba_n_groups ({config.mamba_n_groups}) the heads"
        )


def build_mixer(config: Any, layer: int) -> nn.Module:
    """The mixer of layer `layer` of a twin, with fresh weights."""
    options: dict[str, Any] = {
        "hidden_size": config.hidden_size,
        "state_size": config.mamba_d_state,
        "expand": config.mamba_expand,
        "conv_kernel": config.mamba_d_conv,
        "layer_norm_epsilon": getattr(config, "rms_norm_eps", 1e-5),
        "num_hidden_layers": layer + 1,
    }
    mixer: Any
    if config.mixer == "mamba":
        mixer = MambaMixer(MambaConfig(**options), layer)
    else:
        options |= {
            "num_heads": config.mamba_n_heads,
            "head_dim": config.mamba_expand * config.hidden_size // config.mamba_n_heads,
            "n_groups": config.mamba_n_groups,
            "chunk_size": CHUNK_SIZE,
        }
        mixer = Mamba2Mixer(Mamba2Config(**options), layer)
    if config.mamba_out_bias:
        mixer.out_proj = nn.Linear(mixer.intermediate_size, config.hidden_size)
        nn.init.zeros_(mixer.out_proj.bias)
        mixer.use_bias = True
    built: nn.Module = mixer
    return built


class RecurrentAttention(nn.Module):
    """A mixer that is called like the attention that it replaces: (B, L, D) -> (B, L, D).

    Attributes:
        mixer: transformers' `MambaMixer` or `Mamba2Mixer`.
        mask_BL: (B, L), 1 for tokens and 0 for padding, or None. The backbone sets it before it calls its layers, which
            pass on masks of attention only.
    """

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()
        self.mixer = build_mixer(config, layer)
        self.mask_BL: Tensor | None = None

    def forward(
        self, hidden_states: Tensor, *_: Any, past_key_values: Any = None, layer_past: Any = None, **__: Any
    ) -> tuple[Tensor, None]:
        cache = past_key_values if layer_past is None else layer_past
        length, mixer = hidden_states.shape[1], self.mixer
        has_state = cache is not None and cache.has_previous_state(mixer.layer_idx)
        if length == 1 or not has_state or kernels_run() or isinstance(mixer, Mamba2Mixer):
            return mixer(hidden_states, cache_params=cache, attention_mask=self.mask_BL), None
        # transformers' own scan of Mamba starts from a zero state, so a cached one is advanced token by token.
        masks = [None] * length if self.mask_BL is None else list(self.mask_BL.split(1, dim=1))
        steps = zip(hidden_states.split(1, dim=1), masks, strict=True)
        return torch.cat([mixer(x, cache_params=cache, attention_mask=mask) for x, mask in steps], dim=1), None


class TwinCache(DynamicCache):
    """A `DynamicCache` that counts its tokens, which layers without keys do not.

    Attributes:
        seen: number of tokens that the backbone has read, padding included.
    """

    def __init__(self, config: Any) -> None:
        super().__init__(config=config)
        self.seen = 0

    @property
    def is_compileable(self) -> bool:
        """False: shapes of keys grow."""
        return False

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Number of tokens seen so far, padding included."""
        return self.seen

    def reset(self) -> None:
        """Empty the cache."""
        super().reset()
        self.seen = 0


class TwinPreTrainedModel:
    """What all classes of models of twins share; the other base of each is a class of its parent."""

    _is_stateful = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[misc]
        if isinstance(module, RecurrentAttention):  # after its linear maps, which the parent's class has initialized
            mixer: Any = module.mixer
            mixer.init_mamba_weights() if isinstance(mixer, MambaMixer) else mixer.init_mamba2_weights()
            nn.init.kaiming_uniform_(mixer.conv1d.weight, a=5**0.5)


class TwinBackbone(TwinPreTrainedModel):
    """The backbone of a twin: its parent's, with mixers in the layers that are recurrent."""

    config: Any
    parent_type: str

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        layers, attention = PARENTS[self.parent_type]
        for index, layer in enumerate(getattr(self, layers)):
            if config.layer_types[index] == RECURRENT:
                setattr(layer, attention, RecurrentAttention(config, index))
        self.post_init()  # type: ignore[attr-defined]

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Any = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """As of the parent's backbone.

        `attention_mask` is (B, past + L), None, or the masks of layers by their kind, as `generate` makes them. Raises
        ValueError for other masks, and for cached tokens of unknown number: a cache without keys needs `position_ids`.
        """
        embeds = self.get_input_embeddings()(input_ids) if inputs_embeds is None else inputs_embeds  # type: ignore[attr-defined]
        length = embeds.shape[1]
        if past_key_values is None and (self.config.use_cache if use_cache is None else use_cache):
            past_key_values = TwinCache(self.config)
        if position_ids is None:
            past = _cached_tokens(past_key_values)
            position_ids = torch.arange(past, past + length, device=embeds.device)[None]
        mask_BL = attention_mask.get(RECURRENT) if isinstance(attention_mask, dict) else attention_mask
        if isinstance(mask_BL, Tensor) and mask_BL.dim() != 2:
            raise ValueError(f"a twin reads a mask (B, past + L) of tokens, not one of shape {tuple(mask_BL.shape)}")
        for module in self.modules():  # type: ignore[attr-defined]
            if isinstance(module, RecurrentAttention):
                module.mask_BL = None if mask_BL is None or length == 1 else mask_BL[:, -length:]
        out: Any = super().forward(  # type: ignore[misc]
            inputs_embeds=embeds,
            attention_mask=self._masks(embeds, attention_mask, position_ids, past_key_values),
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            **kwargs,
        )
        if isinstance(past_key_values, TwinCache):
            past_key_values.seen += length
        return out

    def _masks(self, embeds: Tensor, mask: Any, position_ids: Tensor, cache: Any) -> Any:
        """The mask that the parent's forward pass takes."""
        kinds = set(self.config.layer_types)
        if "layer_types" in PARENT_CONFIGS[self.parent_type].__dataclass_fields__:  # it looks masks up by kind
            if kinds == {RECURRENT}:
                return {RECURRENT: None}
            arguments = {"attention_mask": mask, "past_key_values": cache, "position_ids": position_ids}
            return (
                mask
                if isinstance(mask, dict)
                else create_masks_for_generate(self.config, inputs_embeds=embeds, **arguments)
            )
        if kinds == {RECURRENT}:
            # No layer reads a mask, and none can be made for a cache without keys. One of four dimensions is passed on.
            return embeds.new_empty(0, 0, 0, 0)
        return next(mask[kind] for kind in kinds - {RECURRENT}) if isinstance(mask, dict) else mask


def _cached_tokens(cache: Any) -> int:
    """Number of tokens in a cache. Raises ValueError if it has tokens, and no layer with keys."""
    if cache is None:
        return 0
    if isinstance(cache, TwinCache) or any(hasattr(layer, "keys") for layer in cache.layers):
        return int(cache.get_seq_length())
    if any(any(layer.has_previous_state.values()) for layer in cache.layers):
        raise ValueError("a cache of recurrent layers has no count of its tokens: pass position_ids")
    return 0


class TwinForCausalLM(TwinPreTrainedModel):
    """A twin with its parent's next-token head."""

    backbone_class: Any

    def __init__(self, config: Any) -> None:
        super().__init__(config)  # type: ignore[call-arg]
        setattr(self, self.base_model_prefix, self.backbone_class(config))  # type: ignore[attr-defined]
        self.post_init()  # type: ignore[attr-defined]

    def _prepare_cache_for_generation(
        self, generation_config: Any, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        """Called by `generate` with what it passes on to `forward`: adds an empty cache where there is none."""
        if model_kwargs.get("past_key_values") is None and generation_config.use_cache is not False:
            model_kwargs["past_key_values"] = TwinCache(self.config)  # type: ignore[attr-defined]


PARENT_CONFIGS: dict[str, Any] = {name: type(AutoConfig.for_model(name)) for name in PARENTS}
TWIN_CONFIGS: dict[str, Any] = {}
"""Configuration classes of twins by the model type of the parent."""


def _define(model_type: str) -> None:
    """Define the classes of a parent's twins in this module, and register them with transformers' Auto classes."""
    parent = PARENT_CONFIGS[model_type]
    backbone, language_model = AutoModel._model_mapping[parent], AutoModelForCausalLM._model_mapping[parent]

    auto_map: dict[str, str] = {}  # the classes of a checkpoint; transformers writes that of the saved model only

    def complete(self: Any, **kwargs: Any) -> None:
        layer_types = self.layer_types
        parent.__post_init__(self, **kwargs)
        complete_sizes(self, layer_types)
        self.auto_map = auto_map

    annotations = {**TwinFields.__annotations__, "layer_types": "list[str] | None"}
    defaults = {name: getattr(TwinFields, name) for name in TwinFields.__annotations__}
    fields = {**defaults, "layer_types": None, "__annotations__": annotations, "__post_init__": complete}
    config = _class(parent, TwinFields, {"model_type": PREFIX + model_type, **fields})
    model = _class(backbone, TwinBackbone, {"config_class": config, "parent_type": model_type})
    with_head = _class(language_model, TwinForCausalLM, {"config_class": config, "backbone_class": model})
    TWIN_CONFIGS[model_type] = config
    AutoConfig.register(config.model_type, config, exist_ok=True)
    AutoModel.register(config, model, exist_ok=True)
    AutoModelForCausalLM.register(config, with_head, exist_ok=True)
    classes = {"AutoConfig": config, "AutoModel": model, "AutoModelForCausalLM": with_head}
    auto_map |= {name: f"twins.{each.__name__}" for name, each in classes.items()}
    config.register_for_auto_class()
    model.register_for_auto_class("AutoModel")
    with_head.register_for_auto_class("AutoModelForCausalLM")


def _class(parent: Any, mixin: type, body: dict[str, Any]) -> Any:
    name = f"Twin{parent.__name__}"
    documentation = f"The twin of transformers' {parent.__name__}: `{mixin.__name__}` describes it."
    names = {"__module__": __name__, "__qualname__": name, "__doc__": documentation}
    globals()[name] = type(name, (mixin, parent), {**names, **body})
    return globals()[name]


for _model_type in PARENTS:
    _define(_model_type)
