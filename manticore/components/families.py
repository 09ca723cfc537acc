"""The table of families: where a Hugging Face model has its layers, norm, embedding and positions.

A new family is one row of this table; its forward pass stays that of Hugging Face.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import gcd, inf

from transformers import AutoConfig, PretrainedConfig

from manticore.components.spec import BlockSize
from manticore.errors import ManticoreError, UnknownName
from manticore.modeling.segments import BackboneLayout
from manticore.utils.registry import Registry


@dataclass(frozen=True)
class Family:
    """One row of the table.

    Attributes:
        model_types: the `model_type`s of Hugging Face configurations that the row serves.
        layout: attribute names of the backbone class.
        options: function from a `BlockSize` to keyword arguments of the configuration class.
        refused: by configuration field, why a model in which it is set cannot be cut into segments.
    """

    model_types: tuple[str, ...]
    layout: BackboneLayout
    options: Callable[[BlockSize], dict[str, object]]
    refused: Mapping[str, str] = field(default_factory=dict)

    def scratch_config(self, model_type: str, size: BlockSize, vocab_size: int, length: int) -> PretrainedConfig:
        """A configuration for a model from scratch.

        Args:
            model_type: one of `model_types`.
            size: width, depth and other sizes.
            vocab_size: number of token ids.
            length: tokens of the longest sequence.
        """
        return AutoConfig.for_model(
            model_type,
            vocab_size=vocab_size,
            **({"max_position_embeddings": length} if self.layout.has_attention else {}),
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
            **self.options(size),
        )


_DENSE = "its experts are not counted; only dense models are served"

families: Registry[Family] = Registry("family")


def family_of(config: PretrainedConfig) -> Family:
    """The family of a configuration.

    Raises UnknownName if there is none, ManticoreError if the model cannot be cut into segments.
    """
    if getattr(config, "sliding_window", None) == 1:
        raise ManticoreError("a sliding window of 1 token cannot be cached: transformers then keeps all keys")
    rows = {model_type: families[name] for name in families for model_type in families[name].model_types}
    if config.model_type not in rows:
        raise UnknownName("model family", config.model_type, rows)
    family = rows[config.model_type]
    limited = tuple(getattr(config, "time_step_limit", None) or (0.0, inf)) != (0.0, inf)
    if config.model_type == "falcon_h1" and limited and config.ssm_multipliers[4] <= 0:
        raise ManticoreError("a Falcon-H1 with time_step_limit and a factor of the step of 0 or less cannot be cached")
    if "moe" in (getattr(config, "layer_types", None) or ()):
        raise ManticoreError(f"a model of type {config.model_type} with layers of experts cannot be cut: {_DENSE}")
    for name, reason in family.refused.items():
        if getattr(config, name, None):
            raise ManticoreError(f"a model of type {config.model_type} with {name} cannot be cut: {reason}")
    return family


def _gpt_neo(size: BlockSize) -> dict[str, object]:
    attention = ["global" if layer % 2 == 0 else "local" for layer in range(size.layers)]
    return {
        "hidden_size": size.width,
        "num_layers": size.layers,
        "num_heads": size.heads,
        "intermediate_size": size.intermediate_size or 4 * size.width,
        "attention_types": [[[kind], 1] for kind in attention],
        "window_size": size.window_size,
        "resid_dropout": 0.0,
        "embed_dropout": 0.0,
        "attention_dropout": 0.0,
    }


def _gpt2(size: BlockSize) -> dict[str, object]:
    return {
        "n_embd": size.width,
        "n_layer": size.layers,
        "n_head": size.heads,
        "n_inner": size.intermediate_size or 4 * size.width,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
    }


def _gpt_neox(size: BlockSize) -> dict[str, object]:
    return {
        "hidden_size": size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "intermediate_size": size.intermediate_size or 4 * size.width,
    }


def _llama(size: BlockSize) -> dict[str, object]:
    return {**_gpt_neox(size), "num_key_value_heads": size.heads, "head_dim": size.width // size.heads}


def _windowed(size: BlockSize) -> dict[str, object]:
    return {**_llama(size), "sliding_window": size.window_size}


def _gemma(size: BlockSize) -> dict[str, object]:
    return {**_windowed(size), "query_pre_attn_scalar": size.width // size.heads}


def _mamba(size: BlockSize) -> dict[str, object]:
    return {"hidden_size": size.width, "num_hidden_layers": size.layers, "state_size": size.state_size}


def _mamba2(size: BlockSize) -> dict[str, object]:
    head_dim = gcd(64, 2 * size.width)
    return {
        **_mamba(size),
        "head_dim": head_dim,
        "num_heads": 2 * size.width // head_dim,
        "n_groups": 1,
        "chunk_size": 64,
    }


def _hybrid_mamba(size: BlockSize) -> dict[str, object]:
    head_dim = gcd(64, 2 * size.width)
    heads = {"mamba_n_heads": 2 * size.width // head_dim, "mamba_d_head": head_dim}
    return {**_llama(size), **heads, "mamba_n_groups": 1, "mamba_d_state": size.state_size, "mamba_chunk_size": 64}


def _bamba(size: BlockSize) -> dict[str, object]:
    return {**_hybrid_mamba(size), "attn_layer_indices": list(range(1, size.layers, 2))}


def _falcon_h1(size: BlockSize) -> dict[str, object]:
    return {**_hybrid_mamba(size), "mamba_d_ssm": 2 * size.width}


def _granite_hybrid(size: BlockSize) -> dict[str, object]:
    kinds = ["full_attention" if layer % 2 else "linear_attention" for layer in range(size.layers)]
    inner = size.intermediate_size or 4 * size.width
    return {**_hybrid_mamba(size), "layer_types": kinds, "num_local_experts": 0, "shared_intermediate_size": inner}


def _nemotron_h(size: BlockSize) -> dict[str, object]:
    kinds = ("linear_attention", "mlp", "full_attention", "mlp")
    head_dim = gcd(64, 2 * size.width)
    return {
        **{key: value for key, value in _llama(size).items() if key != "num_hidden_layers"},
        "layers_block_type": [kinds[layer % 4] for layer in range(size.layers)],
        "mamba_num_heads": 2 * size.width // head_dim,
        "mamba_head_dim": head_dim,
        "n_groups": 1,
        "ssm_state_size": size.state_size,
        "chunk_size": 64,
    }


def _olmo_hybrid(size: BlockSize) -> dict[str, object]:
    kinds = ["full_attention" if layer % 4 == 1 else "linear_attention" for layer in range(size.layers)]
    return {**_gpt_neox(size), "num_key_value_heads": size.heads, "layer_types": kinds}


def _lfm2(size: BlockSize) -> dict[str, object]:
    kinds = ["full_attention" if layer % 2 else "conv" for layer in range(size.layers)]
    return {**_llama(size), "layer_types": kinds, "block_auto_adjust_ff_dim": False}


def _twin_gpt_neo(size: BlockSize) -> dict[str, object]:
    return {**_gpt_neo(size), "attention_types": [[["global"], size.layers]]}


def _twin_layout(parent: BackboneLayout) -> BackboneLayout:
    raw = ("x_proj", "dt_proj", "out_proj")
    return replace(parent, recurrent=True, cache_argument="past_key_values", raw_weights=raw)


_GPT2_LAYOUT = BackboneLayout("h", "ln_f", "wte", "wpe", "drop")
_GPT_NEOX_LAYOUT = BackboneLayout("layers", "final_layer_norm", "embed_in", dropout="emb_dropout")
_LLAMA_LAYOUT = BackboneLayout("layers", "norm", "embed_tokens")
_GRANITE_LAYOUT = replace(_LLAMA_LAYOUT, embedding_multiplier="embedding_multiplier", logits_divisor="logits_scaling")
_GEMMA2_LAYOUT = replace(_LLAMA_LAYOUT, logits_cap="final_logit_softcapping")
_MAMBA2_LAYOUT = BackboneLayout("layers", "norm_f", "embeddings", recurrent=True, raw_weights=("out_proj",))
_MAMBA_LAYOUT = replace(_MAMBA2_LAYOUT, raw_weights=("x_proj", "dt_proj", "out_proj"))

_LFM2_LAYOUT = BackboneLayout(
    "layers", "embedding_norm", "embed_tokens", recurrent=True, cache_argument="past_key_values"
)
_BAMBA_LAYOUT = replace(_LFM2_LAYOUT, norm="final_layernorm", raw_weights=("out_proj",))
_NEMOTRON_H_LAYOUT = replace(_BAMBA_LAYOUT, norm="norm_f", tokens="embeddings")
_FALCON_H1_LAYOUT = replace(
    _BAMBA_LAYOUT, embedding_multiplier="embedding_multiplier", logits_multiplier="lm_head_multiplier"
)
_GRANITE_HYBRID_LAYOUT = replace(
    _BAMBA_LAYOUT, norm="norm", embedding_multiplier="embedding_multiplier", logits_divisor="logits_scaling"
)

_EXPERTS = {"num_local_experts": _DENSE}
_BY_INDEX = {"scale_attn_by_inverse_layer_idx": "its layers depend on their index"}
_BIDIRECTIONAL = {"use_bidirectional_attention": "its attention is not causal"}

for _name, _family in {
    "gpt_neo": Family(("gpt_neo",), _GPT2_LAYOUT, _gpt_neo),
    "gpt2": Family(("gpt2",), _GPT2_LAYOUT, _gpt2, _BY_INDEX),
    "gpt_neox": Family(("gpt_neox",), _GPT_NEOX_LAYOUT, _gpt_neox),
    "llama": Family(("llama", "mistral", "qwen2", "qwen3"), _LLAMA_LAYOUT, _llama),
    "smollm3": Family(("smollm3",), _LLAMA_LAYOUT, _llama),
    "olmo2": Family(("olmo2",), _LLAMA_LAYOUT, _llama),
    "olmo3": Family(("olmo3",), _LLAMA_LAYOUT, _windowed),
    "phi3": Family(("phi3",), _LLAMA_LAYOUT, _llama),
    "gemma": Family(("gemma",), _LLAMA_LAYOUT, _llama, _BIDIRECTIONAL),
    "gemma2": Family(("gemma2", "gemma3_text"), _GEMMA2_LAYOUT, _gemma, _BIDIRECTIONAL),
    "granite": Family(("granite",), _GRANITE_LAYOUT, _llama),
    "bamba": Family(("bamba",), _BAMBA_LAYOUT, _bamba),
    "falcon_h1": Family(("falcon_h1",), _FALCON_H1_LAYOUT, _falcon_h1),
    "granitemoehybrid": Family(("granitemoehybrid",), _GRANITE_HYBRID_LAYOUT, _granite_hybrid, _EXPERTS),
    "lfm2": Family(("lfm2",), _LFM2_LAYOUT, _lfm2),
    "nemotron_h": Family(("nemotron_h",), _NEMOTRON_H_LAYOUT, _nemotron_h),
    "olmo_hybrid": Family(("olmo_hybrid",), replace(_LFM2_LAYOUT, norm="norm"), _olmo_hybrid),
    "mamba": Family(("mamba",), _MAMBA_LAYOUT, _mamba),
    "falcon_mamba": Family(("falcon_mamba",), _MAMBA_LAYOUT, _mamba),
    "mamba2": Family(("mamba2",), _MAMBA2_LAYOUT, _mamba2),
    "twin_llama": Family(
        ("twin_llama", "twin_mistral", "twin_qwen2", "twin_qwen3"), _twin_layout(_LLAMA_LAYOUT), _llama
    ),
    "twin_gpt_neox": Family(("twin_gpt_neox",), _twin_layout(_GPT_NEOX_LAYOUT), _gpt_neox),
    "twin_gpt2": Family(("twin_gpt2",), _twin_layout(_GPT2_LAYOUT), _gpt2, _BY_INDEX),
    "twin_gpt_neo": Family(("twin_gpt_neo",), _twin_layout(_GPT2_LAYOUT), _twin_gpt_neo),
}.items():
    families.register(_name)(_family)
