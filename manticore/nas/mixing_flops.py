"""Operations of attention and of scans in a segment, which have no weights that they could be counted by."""

from __future__ import annotations

from transformers import PretrainedConfig

from manticore.modeling.segments import Segment


def mixing_flops(segment: Segment, length: int) -> float:
    """Operations per token of attention and scans on `length` tokens.

    Attention: `4 E span` for each layer, with E the features of all heads and span the mean number of tokens that a
    token attends to: (L + 1) / 2, or for a window w < L, where the first w tokens attend to 1 ... w and all others
    to w, w - w (w - 1) / (2 L). Scan: `9 inner state` for each layer (discretize, update, read).
    """
    config = segment.backbone.config
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    if not segment.has_attention:
        kinds = ["linear_attention"] * config.num_hidden_layers
    total = 0.0
    for kind, window in zip(kinds, _windows(segment), strict=True):
        if kind not in ("conv", "linear_attention", "mlp"):
            total += 4.0 * _head_features(config) * _span(length, window)
        if kind in ("linear_attention", "hybrid"):
            total += 9.0 * _scanned_features(config)
    return total


def _windows(segment: Segment) -> list[int | None]:
    """Number of tokens that a token attends to in each layer, itself included; None for all before it."""
    config = segment.backbone.config
    if own := getattr(config, "attention_layers", None):  # GPT-Neo, whose cache keeps all keys
        return [config.window_size if kind == "local" else None for kind in own]
    return [getattr(layer, "sliding_window", None) for layer in segment.new_cache().layers]


def _span(length: int, window: int | None) -> float:
    if window is None or window >= length:
        return (length + 1) / 2
    return window - window * (window - 1) / (2 * length)


def _head_features(config: PretrainedConfig) -> int:
    """Features of all heads of queries, E; the width of a user's model whose configuration has no number of heads."""
    heads, size = getattr(config, "num_attention_heads", None), getattr(config, "head_dim", None)
    return int(heads * size if heads and size else config.hidden_size)


def _scanned_features(config: PretrainedConfig) -> int:
    """Features of the state of a recurrent layer."""
    if hasattr(config, "linear_value_head_dim"):  # OLMo Hybrid
        return int(config.linear_num_value_heads * config.linear_key_head_dim * config.linear_value_head_dim)
    if hasattr(config, "mamba_num_heads"):  # Nemotron-H
        return int(config.mamba_num_heads * config.mamba_head_dim * config.ssm_state_size)
    if (inner := getattr(config, "mamba_d_ssm", None)) is None:
        if hasattr(config, "mamba_expand"):
            inner = config.mamba_expand * config.hidden_size
        else:
            inner = getattr(config, "intermediate_size", None) or getattr(config, "expand", 1) * config.hidden_size
    state = getattr(config, "state_size", None) or getattr(config, "mamba_d_state", None)
    return int(inner * (state or 0))
