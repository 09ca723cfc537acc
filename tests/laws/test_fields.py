"""Laws 1 and 4 for every configuration field that a family's forward pass reads, with kernels and without."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from manticore.components import Component, load
from manticore.components.spec import ComponentSpec
from manticore.errors import ManticoreError
from manticore.modeling import segments
from manticore.nas.discretize import discretize
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from tests.helpers.caching import alone, in_chunks, padded, sequences
from tests.helpers.pico import MODEL_TYPES, SIZES, VOCAB, component
from tests.helpers.reloading import run_plainly

pytestmark = pytest.mark.slow

LENGTH = 24
TOLERANCE = {"atol": 1e-4, "rtol": 0.0}

_TOKENS = {"vocab_size": VOCAB, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
_ATTENTION = {**_TOKENS, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}
_ROTARY = {**_ATTENTION, "num_hidden_layers": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}
_RECURRENT = {**_TOKENS, "hidden_size": 24, "num_hidden_layers": 4, "state_size": 8}

FIELDS: dict[str, dict[str, Any]] = {
    "gpt_neo": {
        **{key: value for key, value in _ATTENTION.items() if key != "num_attention_heads"},
        "num_layers": 4,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 2]],
        "window_size": 6,
        "max_position_embeddings": 64,
    },
    "gpt2": {**_TOKENS, "n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 64},
    "gpt_neox": {**_ATTENTION, "num_hidden_layers": 4, "max_position_embeddings": 64},
    "llama": _ROTARY,
    **{model_type: {**SIZES, **_TOKENS, **deepcopy(options)} for model_type, options in MODEL_TYPES.items()},
    "mamba": _RECURRENT,
    "falcon_mamba": _RECURRENT,
    "mamba2": {**_RECURRENT, "head_dim": 12, "num_heads": 4, "n_groups": 1, "chunk_size": 8},
}
"""Configurations that the variants change."""


def _rope(kind: str, **fields: Any) -> dict[str, Any]:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10_000.0, **fields}}


_ALTERNATING = ["sliding_attention", "full_attention"] * 2
_SCALED = {"factor": 4.0, "original_max_position_embeddings": 16}
_LONGROPE = _rope("longrope", short_factor=[1.0] * 4, long_factor=[3.0] * 4, factor=4.0)
_ROPES: dict[str, dict[str, Any]] = {
    "linear": _rope("linear", factor=2.0),
    "dynamic": _rope("dynamic", factor=2.0),
    "yarn": _rope("yarn", **_SCALED),
    "llama3": _rope("llama3", low_freq_factor=1.0, high_freq_factor=4.0, **_SCALED),
}
_SLIDING: dict[str, dict[str, Any]] = {
    "last layers slide": {"use_sliding_window": True, "sliding_window": 5, "max_window_layers": 2},
    "layers alternate": {"use_sliding_window": True, "sliding_window": 5, "layer_types": _ALTERNATING},
}
_MIXERS: dict[str, dict[str, Any]] = {
    "one state": {"state_size": 1},
    "kernel of 1": {"conv_kernel": 1},
    "kernel of 7": {"conv_kernel": 7},
    "biases": {"use_bias": True},
    "no bias of the convolution": {"use_conv_bias": False},
    "gelu": {"hidden_act": "gelu"},
    "residuals as they are": {"residual_in_fp32": False},
    "epsilon": {"layer_norm_epsilon": 1e-2},
    "one layer a stage": {"num_hidden_layers": 3},
}

_MAMBA2_OF_HYBRIDS: dict[str, dict[str, Any]] = {
    "biases": {"mamba_proj_bias": True, "attention_bias": True, "mamba_conv_bias": False, "mamba_d_conv": 2},
    "expand": {"mamba_expand": 1, "mamba_n_heads": 4, "mamba_n_groups": 1, "mamba_d_state": 1, "mamba_chunk_size": 1},
    "step limit": {"time_step_limit": [0.7, 0.8], "mamba_d_head": 16, "mamba_n_heads": 4, "rms_norm_eps": 1e-2},
}

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "bamba": {
        **_MAMBA2_OF_HYBRIDS,
        "two layers of attention": {"attn_layer_indices": [0, 1], "mlp_bias": True, "hidden_act": "gelu"},
    },
    "falcon_h1": {
        **_MAMBA2_OF_HYBRIDS,
        "expand": {**_MAMBA2_OF_HYBRIDS["expand"], "mamba_d_ssm": None},
        "gated norm": {"mamba_rms_norm": True, "mamba_norm_before_gate": False, "projectors_bias": True},
        "norm before": {"mamba_rms_norm": True, "mamba_norm_before_gate": True, "mlp_bias": True},
        "factors": {"embedding_multiplier": 2.0, "lm_head_multiplier": 0.5, "key_multiplier": 2.0},
        "scales": {"ssm_in_multiplier": 2.0, "ssm_out_multiplier": 2.0, "ssm_multipliers": [1.0, 2.0, 1.0, 1.0, 0.5]},
        "others": {"attention_in_multiplier": 2.0, "attention_out_multiplier": 2.0, "mlp_multipliers": [2.0, 0.5]},
    },
    "granitemoehybrid": {
        **_MAMBA2_OF_HYBRIDS,
        "rotary": {"position_embedding_type": "rope", "layer_types": ["full_attention", "linear_attention"] * 2},
        "scales": {"residual_multiplier": 0.5, "attention_multiplier": 0.3, "shared_intermediate_size": 20},
        "factors": {"embedding_multiplier": 2.0, "logits_scaling": 3.0, "hidden_act": "gelu"},
    },
    "lfm2": {
        "kernel of 2": {"conv_L_cache": 2, "conv_bias": True, "norm_eps": 1e-2},
        "by indices": {"layer_types": None, "full_attn_idxs": [0, 2]},
        "adjusted": {"block_auto_adjust_ff_dim": True, "block_multiple_of": 8, "block_ffn_dim_multiplier": 1.5},
    },
    "nemotron_h": {
        "biases": {"use_bias": True, "attention_bias": True, "mlp_bias": True, "use_conv_bias": False},
        "input bias": {"mamba_proj_bias": True, "conv_kernel": 2, "mlp_hidden_act": "gelu", "mamba_hidden_act": "gelu"},
        "expand": {"expand": 1, "mamba_num_heads": 4, "n_groups": 1, "ssm_state_size": 1, "chunk_size": 1},
        "step limit": {"time_step_min": 0.5, "time_step_limit": [0.1, 0.2], "mamba_head_dim": 16, "mamba_num_heads": 4},
        "layers": {"layers_block_type": ["mlp", "full_attention", "linear_attention"], "residual_in_fp32": True},
        "window": {"sliding_window": 5, "layer_norm_epsilon": 1e-2},
    },
    "olmo_hybrid": {
        "positive": {"linear_allow_neg_eigval": False, "attention_bias": True, "linear_conv_kernel_dim": 2},
        "sizes": {"linear_key_head_dim": 4, "linear_value_head_dim": 4, "linear_num_key_heads": 2},
        "heads": {"linear_num_value_heads": 8, "linear_num_key_heads": 8, "hidden_act": "gelu"},
        "rotary": _rope("default", partial_rotary_factor=1.0),
        "layers": {"layer_types": ["linear_attention", "full_attention"] * 2},
    },
    "gpt_neo": {
        "local": {"attention_types": [[["local"], 4]]},
        "window of 1": {"window_size": 1},
        "relu": {"activation_function": "relu"},
        "one head": {"num_heads": 1},
        "untied": {"tie_word_embeddings": False},
        "epsilon": {"layer_norm_epsilon": 1e-2},
    },
    "gpt2": {
        "unscaled": {"scale_attn_weights": False},
        "upcast": {"reorder_and_upcast_attn": True},
        "relu": {"activation_function": "relu"},
        "inner": {"n_inner": 20},
        "cross attention": {"add_cross_attention": True},
        "untied": {"tie_word_embeddings": False},
        "epsilon": {"layer_norm_epsilon": 1e-2},
    },
    "gpt_neox": {
        "sequential": {"use_parallel_residual": False},
        "no biases": {"attention_bias": False},
        "relu": {"hidden_act": "relu"},
        "all rotary": _rope("default", partial_rotary_factor=1.0),
        "linear": _rope("linear", factor=2.0, partial_rotary_factor=0.5),
        "tied": {"tie_word_embeddings": True},
        "epsilon": {"layer_norm_eps": 1e-2},
    },
    "llama": {
        "one key head": {"num_key_value_heads": 1},
        "wide heads": {"head_dim": 16},
        "biases": {"attention_bias": True, "mlp_bias": True},
        "gelu": {"hidden_act": "gelu"},
        "tied": {"tie_word_embeddings": True},
        "epsilon": {"rms_norm_eps": 1e-2},
        **_ROPES,
    },
    "mistral": {"no window": {"sliding_window": None}, "window of 2": {"sliding_window": 2}},
    "qwen2": _SLIDING,
    "olmo2": {"biases": {"attention_bias": True}},
    "olmo3": {"biases": {"attention_bias": True}, "window of 3": {"sliding_window": 3, "layer_types": _ALTERNATING}},
    "smollm3": {
        "biases": {"attention_bias": True, "mlp_bias": True},
        "windows": {"use_sliding_window": True, "sliding_window": 5, "layer_types": _ALTERNATING},
        "without rotary": {"no_rope_layers": [0] * 4, "no_rope_layer_interval": 2},
    },
    "phi3": {"window of 3": {"sliding_window": 3}, "trained on less": {"original_max_position_embeddings": 16}},
    "gemma": {"biases": {"attention_bias": True}},
    "gemma2": {
        "biases": {"attention_bias": True, "hidden_activation": "relu"},
        "no caps": {"final_logit_softcapping": None, "attn_logit_softcapping": None},
        "another scale": {"query_pre_attn_scalar": 3, "sliding_window": 3, "layer_types": _ALTERNATING},
    },
    "gemma3_text": {
        "biases": {"attention_bias": True, "hidden_activation": "relu"},
        "caps": {"final_logit_softcapping": 0.5, "attn_logit_softcapping": 0.5},
        "another scale": {"query_pre_attn_scalar": 3, "sliding_window": 3, "layer_types": _ALTERNATING},
    },
    "granite": {
        "biases": {"attention_bias": True, "mlp_bias": True},
        "factors": {"embedding_multiplier": 2.0, "logits_scaling": 3.0},
        "scales": {"residual_multiplier": 0.5, "attention_multiplier": 0.3},
    },
    "qwen3": {"biases": {"attention_bias": True}, **_SLIDING},
    "mamba": {
        **_MIXERS,
        "expand": {"expand": 3},
        "rank": {"time_step_rank": 5},
        "untied": {"tie_word_embeddings": False},
        "no associative scan": {"use_associative_scan": False},
        "mambapy": {"use_mambapy": True},
    },
    "falcon_mamba": {
        **_MIXERS,
        "expand": {"expand": 3},
        "rank": {"time_step_rank": 5, "mixer_rms_eps": 1e-2},
        "untied": {"tie_word_embeddings": False},
        "no associative scan": {"use_associative_scan": False},
        "mambapy": {"use_mambapy": True},
    },
    "mamba2": {
        **_MIXERS,
        "groups": {"n_groups": 4},
        "heads": {"head_dim": 6, "num_heads": 8},
        "expand": {"expand": 1, "num_heads": 2},
        "step limit": {"time_step_limit": [0.01, 0.02]},
        "lowest step": {"time_step_limit": [0.05, float("inf")]},
        "chunks of 1": {"chunk_size": 1},
        "tied": {"tie_word_embeddings": True},
    },
}
CASES = [(family, name) for family, variants in VARIANTS.items() for name in variants]

WITHOUT_EFFECT = {
    *("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id", "use_cache", "max_position_embeddings"),
    *("resid_dropout", "embed_dropout", "attention_dropout", "classifier_dropout", "hidden_dropout"),
    *("resid_pdrop", "embd_pdrop", "attn_pdrop", "n_positions", "is_decoder", "pretraining_tp", "max_window_layers"),
    *("summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout"),
    *("initializer_range", "rescale_prenorm_residual", "time_step_scale", "time_step_min", "time_step_max"),
    *("time_step_init_scheme", "time_step_floor", "time_step_rank", "hidden_size", "n_embd", "num_layers", "n_layer"),
    *("num_attention_heads", "num_logits_to_keep", "z_loss_coefficient", "output_router_logits"),
    *("linear_a_log_min", "linear_a_log_max", "linear_dt_min", "linear_dt_max", "linear_dt_init_floor"),
    *("use_mamba_kernels", "mamba_ssm_cache_dtype", "num_nextn_predict_layers", "mtp_layers_block_type"),
}
"""Fields of initial weights, training, dropout, tokens, other heads and sizes, of which every variant has some."""

EXPERTS = {
    *("num_local_experts", "num_experts_per_tok", "router_aux_loss_coef", "moe_intermediate_size", "moe_latent_size"),
    *("moe_shared_expert_intermediate_size", "moe_shared_expert_overlap", "n_group", "n_routed_experts", "topk_group"),
    *("n_shared_experts", "norm_topk_prob", "routed_scaling_factor"),
}
"""Fields of layers of experts, which are refused."""

REFUSED = {
    ("gpt2", "scale_attn_by_inverse_layer_idx"): True,
    ("mistral", "sliding_window"): 1,
    ("gemma", "use_bidirectional_attention"): True,
    ("gemma2", "use_bidirectional_attention"): True,
    ("gemma3_text", "use_bidirectional_attention"): True,
}
"""Values that `family_of` refuses."""


def variant(family: str, fields: dict[str, Any]) -> Component:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **deepcopy({**FIELDS[family], **fields})))
    with torch.no_grad():  # large enough that a field has an effect
        for name, weight in model.named_parameters():
            if weight.dim() == 2 and "A_log" not in name:
                weight.mul_(2)
            elif name.endswith("bias") and "dt_" not in name:
                weight.normal_(std=0.3)
    return load(ComponentSpec(name="base", model=model.eval()))


def hybrids(base: Component) -> tuple[PreTrainedModel, PreTrainedModel]:
    """The hybrid of base segments alone, and one with a donor in the middle."""
    donor = component("gpt2" if base.layout.recurrent else "mamba", "donor")
    net = Supernet([base, donor], SearchSpace(["base", "donor"], stages=3), "base", HeadSpec()).eval()
    return discretize(net, ["base"] * 3), discretize(net, ["base", "donor", "base"])


@pytest.mark.parametrize(("family", "name"), CASES)
@torch.no_grad()
def test_alone_mixed_cached_and_padded(monkeypatch: pytest.MonkeyPatch, family: str, name: str) -> None:
    base = variant(family, VARIANTS[family][name])
    own, mixed = hybrids(base)
    rows = sequences(own, (LENGTH, LENGTH))
    ids = torch.stack(rows)
    assert torch.equal(own(input_ids=ids).logits, base.model(input_ids=ids).logits)  # law 1
    for model in (own, mixed):
        _cached_equals_uncached(model, rows)
    if base.layout.recurrent or family == "gpt_neo":
        run_plainly(monkeypatch)
        _cached_equals_uncached(own, rows)


def _cached_equals_uncached(model: PreTrainedModel, rows: list[torch.Tensor]) -> None:
    ids = torch.stack(rows)
    expected = model(input_ids=ids).logits
    for chunks in ([1] * LENGTH, [2, 1, 1, LENGTH - 4], [LENGTH - 2, 1, 1]):
        torch.testing.assert_close(in_chunks(model, ids, None, chunks), expected, **TOLERANCE)
    short = rows[1][:-7]
    ids, mask = padded([rows[0], short], "left")
    for logits in (model(input_ids=ids, attention_mask=mask).logits, in_chunks(model, ids, mask, [LENGTH - 4, 1, 3])):
        torch.testing.assert_close(logits[0], expected[0], **TOLERANCE)
        torch.testing.assert_close(logits[1, 7:], alone(model, short), **TOLERANCE)


@pytest.mark.parametrize("family", VARIANTS)
def test_every_field_is_varied_or_has_no_effect(family: str) -> None:
    fields = set(vars(type(AutoConfig.for_model(family))).get("__annotations__", {})) - EXPERTS
    varied = {field for fields in VARIANTS[family].values() for field in fields}
    refused = {field for model_type, field in REFUSED if model_type == family}
    shared = {"num_hidden_layers", "intermediate_size", "hidden_act", "rms_norm_eps", "rope_parameters"}  # of `llama`
    shared |= {"num_key_value_heads", "head_dim", "tie_word_embeddings"}
    assert fields - varied - refused - WITHOUT_EFFECT - shared == {"n_head"} & fields


@pytest.mark.parametrize(("family", "field"), REFUSED)
def test_what_cannot_be_cut_or_cached_is_refused(family: str, field: str) -> None:
    with pytest.raises(ManticoreError, match="cannot be c"):
        variant(family, {field: REFUSED[family, field]})


@torch.no_grad()
def test_frequencies_that_depend_on_the_number_of_tokens_are_refused_beyond_it() -> None:
    config = {"max_position_embeddings": 16, **_rope("dynamic", factor=2.0)}
    model = hybrids(variant("llama", config))[0]
    ids = torch.stack(sequences(model, (20,)))
    assert model(input_ids=ids[:, :16]).logits.isfinite().all()
    for options in ({}, {"use_cache": True}):
        with pytest.raises(ValueError, match="'dynamic' change beyond 16 tokens, with every call, and 20 were passed"):
            model(input_ids=ids, **options)
    longrope = deepcopy(_LONGROPE)
    longrope["rope_parameters"]["original_max_position_embeddings"] = 16
    model = hybrids(variant("llama", longrope))[0]
    expected = model(input_ids=ids).logits
    torch.testing.assert_close(in_chunks(model, ids, None, [17, 1, 2]), expected, **TOLERANCE)
    torch.testing.assert_close(
        in_chunks(model, ids[:, :16], None, [9, 7]), model(input_ids=ids[:, :16]).logits, **TOLERANCE
    )
    with pytest.raises(ValueError, match="'longrope' change beyond 16 tokens, and those of cached tokens do not"):
        in_chunks(model, ids, None, [16, 1, 3])


@pytest.mark.parametrize("family", ["mamba", "mamba2"])
@torch.no_grad()
def test_half_precision(monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    """A step in bf16 differs from the whole sequence by no more than bf16 from single precision."""
    model = hybrids(variant(family, {}))[0]
    ids = torch.stack(sequences(model, (LENGTH, LENGTH)))
    single = model(input_ids=ids).logits
    model.bfloat16()
    for kernels in (segments.kernels, None):
        monkeypatch.setattr(segments, "kernels", kernels)
        whole = model(input_ids=ids).logits.float()
        steps = in_chunks(model, ids, None, [1] * LENGTH).float()
        assert (steps - whole).abs().max() <= 2 * (whole - single).abs().max()
