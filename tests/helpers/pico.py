"""Very small components of real Hugging Face classes, shared by tests."""

from __future__ import annotations

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from manticore.components import BlockSize, Component, Scratch, load
from manticore.components.spec import ComponentSpec
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet, is_projector_weight
from manticore.tasks.task import HeadSpec

FAMILIES = ("gpt_neo", "gpt2", "gpt_neox", "llama", "mistral", "qwen2", "qwen3", "mamba", "mamba2")
"""Families with all checks of all laws."""

VOCAB = 61
ATTENTION = BlockSize(width=32, layers=4, heads=4, window_size=6)
RECURRENT = BlockSize(width=24, layers=5, state_size=8)
SCRATCH = Scratch(ATTENTION, RECURRENT, VOCAB, 64)


SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 64,
}
HYBRID = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 2, "mamba_d_state": 8, "mamba_chunk_size": 8}
MODEL_TYPES: dict[str, dict[str, object]] = {
    "mistral": {"head_dim": 8, "sliding_window": 6},
    "qwen2": {},
    "qwen3": {"head_dim": 8},
    "olmo2": {},
    "olmo3": {"sliding_window": 6, "layer_types": ["sliding_attention", "full_attention"] * 2},
    "smollm3": {
        "no_rope_layers": [1, 0, 1, 0, 1, 1],  # longer than the model is deep, as in checkpoints that were pruned
        "use_sliding_window": True,
        "sliding_window": 6,
        "layer_types": ["full_attention", "sliding_attention"] * 2,
    },
    "phi3": {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
    "gemma": {"head_dim": 8},
    "gemma2": {
        "head_dim": 16,
        "query_pre_attn_scalar": 16,
        "sliding_window": 6,
        "final_logit_softcapping": 0.1,
        "attn_logit_softcapping": 0.2,
    },
    "gemma3_text": {"head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 6, "sliding_window_pattern": 2},
    "granite": {
        "embedding_multiplier": 12.0,
        "logits_scaling": 6.0,
        "residual_multiplier": 0.22,
        "attention_multiplier": 0.1,
    },
    "bamba": {**HYBRID, "attn_layer_indices": [1, 3]},
    "falcon_h1": {
        **HYBRID,
        "mamba_d_ssm": 64,
        "embedding_multiplier": 3.0,
        "lm_head_multiplier": 0.3,
        "key_multiplier": 0.5,
        "ssm_multipliers": [0.7, 0.6, 0.5, 0.4, 0.8],
        "ssm_in_multiplier": 0.7,
        "ssm_out_multiplier": 0.6,
        "attention_in_multiplier": 0.9,
        "attention_out_multiplier": 0.8,
        "mlp_multipliers": [0.7, 0.6],
    },
    "granitemoehybrid": {
        **HYBRID,
        "layer_types": ["linear_attention", "full_attention"] * 2,
        "num_local_experts": 0,
        "shared_intermediate_size": 48,
        "embedding_multiplier": 12.0,
        "logits_scaling": 6.0,
        "residual_multiplier": 0.22,
        "attention_multiplier": 0.1,
    },
    "twin_mistral": {
        "head_dim": 8,
        "sliding_window": 6,
        "layer_types": ["linear_attention", "sliding_attention"] * 2,
        "mamba_expand": 2,
        "mamba_n_groups": 2,
    },
    "twin_qwen2": {"mixer": "mamba", "layer_types": ["full_attention", "linear_attention"] * 2, "mamba_out_bias": True},
    "nemotron_h": {
        "layers_block_type": ["linear_attention", "full_attention", "mlp", "mlp", "linear_attention"],
        "head_dim": 8,
        "mamba_num_heads": 8,
        "mamba_head_dim": 8,
        "n_groups": 2,
        "ssm_state_size": 8,
        "chunk_size": 8,
    },
    "olmo_hybrid": {
        "layer_types": ["full_attention", "linear_attention", "linear_attention", "linear_attention"],
        "linear_key_head_dim": 6,
        "linear_value_head_dim": 8,
    },
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2, "block_auto_adjust_ff_dim": False},
}
"""Model types of attention families and of hybrids, each with the options that set it apart."""

TWINS = ("twin_llama", "twin_gpt_neox", "twin_gpt2", "twin_gpt_neo")
"""Families of twins; those with a parent like Llama are in MODEL_TYPES, too."""

ROWS = (*FAMILIES, *(name for name in MODEL_TYPES if name not in FAMILIES), "falcon_mamba", *TWINS)
"""All families, for checks that take no time."""


def component(family: str, name: str = "", **size: int) -> Component:
    """A randomly initialized component of a family of the table, or of a model type."""
    torch.manual_seed(hash_of(family + name))
    name = name or family
    if family in MODEL_TYPES:
        options = {**SIZES, **SPECIAL, **MODEL_TYPES[family]}
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **options)).eval()
        return load(ComponentSpec(name=name, model=model))
    loaded = load(ComponentSpec(family, name, init="scratch", size=size), SCRATCH)
    loaded.model.eval()
    return loaded


def hash_of(text: str) -> int:
    """A small integer that is the same in every process."""
    return sum(ord(letter) * (index + 1) for index, letter in enumerate(text))


def supernet(base: str, donor: str, head_spec: HeadSpec | None = None, **space: object) -> Supernet:
    """A supernet of two families, named `base` and `donor`."""
    components = [component(base, "base"), component(donor, "donor")]
    options = {"stages": 3, **space}
    net = Supernet(components, SearchSpace(["base", "donor"], **options), "base", head_spec or HeadSpec())
    torch.manual_seed(0)
    with torch.no_grad():  # not the identity, so that a result without projectors differs
        for name, parameter in net.named_parameters():
            if is_projector_weight(name):
                parameter.add_(0.05 * torch.randn_like(parameter))
    return net.eval()


def tokens(batch: int = 3, length: int = 17, pad_left: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Random ids (B, L) and a mask whose first sequence is padded on the left."""
    torch.manual_seed(1)
    ids = torch.randint(3, VOCAB, (batch, length))
    mask = torch.ones(batch, length, dtype=torch.long)
    mask[0, :pad_left] = 0
    return ids, mask
