"""The table of families: where each keeps its layers, norm, embedding and positions. Knows no weights.

A new family is a row here, not a copy of its forward pass.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import gcd

from transformers import AutoConfig, PretrainedConfig

from manticore.components.spec import BlockSize
from manticore.errors import ManticoreError, UnknownName
from manticore.modeling.segments import BackboneLayout
from manticore.utils.registry import Registry


@dataclass(frozen=True)
class Family:
    """One row of the table.

    Attributes:
        model_types: Hugging Face `model_type`s the row serves.
        layout: attribute names of the backbone class.
        options: the family's own configuration keywords for a `Size`.
    """

    model_types: tuple[str, ...]
    layout: BackboneLayout
    options: Callable[[BlockSize], dict[str, object]]

    def scratch(self, model_type: str, size: BlockSize, vocab_size: int, length: int) -> PretrainedConfig:
        """A configuration of the given size, for `vocab_size` token ids and sequences of at most `length` tokens.

        `model_type` is one of those the row serves.
        """
        return AutoConfig.for_model(
            model_type,
            vocab_size=vocab_size,
            **({} if self.layout.recurrent else {"max_position_embeddings": length}),
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
            **self.options(size),
        )


families: Registry[Family] = Registry("family")


def _gpt_neo(size: BlockSize) -> dict[str, object]:
    kinds = ["global" if layer % 2 == 0 else "local" for layer in range(size.layers)]
    return {
        "hidden_size": size.width,
        "num_layers": size.layers,
        "num_heads": size.heads,
        "intermediate_size": size.intermediate_size or 4 * size.width,
        "attention_types": [[[kind], 1] for kind in kinds],
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


def _rotary(size: BlockSize) -> dict[str, object]:
    return {
        "hidden_size": size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "intermediate_size": size.intermediate_size or 4 * size.width,
    }


def _llama(size: BlockSize) -> dict[str, object]:
    return {**_rotary(size), "num_key_value_heads": size.heads, "head_dim": size.width // size.heads}


def _mamba(size: BlockSize) -> dict[str, object]:
    return {"hidden_size": size.width, "num_hidden_layers": size.layers, "state_size": size.state_size}


def _mamba2(size: BlockSize) -> dict[str, object]:
    head = gcd(64, 2 * size.width)
    return {
        **_mamba(size),
        "head_dim": head,
        "num_heads": 2 * size.width // head,
        "n_groups": 1,
        "chunk_size": 64,
    }


_ROWS = {
    "gpt_neo": Family(("gpt_neo",), BackboneLayout("h", "ln_f", "wte", "wpe", "drop"), _gpt_neo),
    "gpt2": Family(("gpt2",), BackboneLayout("h", "ln_f", "wte", "wpe", "drop"), _gpt2),
    "gpt_neox": Family(
        ("gpt_neox",), BackboneLayout("layers", "final_layer_norm", "embed_in", dropout="emb_dropout"), _rotary
    ),
    "llama": Family(("llama", "mistral", "qwen2", "qwen3"), BackboneLayout("layers", "norm", "embed_tokens"), _llama),
    "mamba": Family(("mamba",), BackboneLayout("layers", "norm_f", "embeddings", recurrent=True), _mamba),
    "mamba2": Family(("mamba2",), BackboneLayout("layers", "norm_f", "embeddings", recurrent=True), _mamba2),
}
for _name, _row in _ROWS.items():
    families.register(_name)(_row)


def family_of(config: PretrainedConfig) -> Family:
    """The row that serves a configuration. Raises UnknownName if none does, ManticoreError if it cannot be cut."""
    if getattr(config, "scale_attn_by_inverse_layer_idx", False):
        raise ManticoreError("a GPT-2 with scale_attn_by_inverse_layer_idx cannot be cut: its layers know their number")
    served = {model_type: families[name] for name in families for model_type in families[name].model_types}
    if config.model_type not in served:
        raise UnknownName("model family", config.model_type, served)
    return served[config.model_type]
