"""Attention's weights in one form, mixers that start from them, and least squares on their outputs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from manticore.growth.attention_weights import AttentionWeights, attention_weights
from manticore.growth.starts import RMS, fit_outputs, score_maps, start_mixer
from manticore.growth.twin import MixerSize, attention_of, twin_config
from manticore.modeling.twins import PARENTS, build_mixer
from tests.helpers.pico import component

X = torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(0))
UNSCALED = ("gpt_neo",)


def parent_weights(family: str, layer: int = 0) -> tuple[Any, AttentionWeights]:
    """A parent with biases that are not 0, and the weights of one layer."""
    parent = component(family)
    torch.manual_seed(4)
    with torch.no_grad():
        for parameter in parent.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return parent, attention_weights(attention_of(parent, layer), parent.config)


def attend(weights: AttentionWeights, x_BLD: Tensor, scale: float) -> Tensor:
    """Causal softmax attention without positions."""
    maps = (weights.query_HdD, weights.key_HdD, weights.value_HdD)
    biases = (weights.query_bias_Hd, weights.key_bias_Hd, weights.value_bias_Hd)
    q, k, v = (
        torch.einsum("bld,hed->bhle", x_BLD, part) + bias[:, None] for part, bias in zip(maps, biases, strict=True)
    )
    scores = q @ k.transpose(-1, -2) * scale
    masked = scores.masked_fill(torch.ones_like(scores[0, 0]).triu(1).bool(), -math.inf)
    out = torch.einsum("bhle,dhe->bld", masked.softmax(-1) @ v, weights.out_DHd)
    return out if weights.out_bias_D is None else out + weights.out_bias_D


@pytest.mark.parametrize("family", [name for name in PARENTS if name != "qwen3"])
@torch.no_grad()
def test_the_weights_are_those_of_attention_without_positions(family: str) -> None:
    parent, weights = parent_weights(family)
    options: dict[str, Any] = {"attention_mask": None}
    if family not in ("gpt2", "gpt_neo"):  # at position 0 rotary embeddings change nothing
        rope = parent.config.rope_parameters.get("partial_rotary_factor", 1.0)
        shape = (2, 7, int(weights.head_width * rope))
        options["position_embeddings"] = (torch.ones(shape), torch.zeros(shape))
    if family == "gpt_neo":
        options["attention_mask"] = torch.full((7, 7), -1e9).triu(1)[None, None]
    expected = attention_of(parent, 0)(X, **options)[0]
    scale = 1.0 if family in UNSCALED else weights.head_width**-0.5
    torch.testing.assert_close(attend(weights, X, scale), expected, atol=1e-5, rtol=0)


def test_the_norms_of_queries_and_keys_scale_their_maps() -> None:
    parent, weights = parent_weights("qwen3")
    attention: Any = attention_of(parent, 0)
    expected = attention.q_proj.weight.view(4, 8, 32) * attention.q_norm.weight[:, None]
    torch.testing.assert_close(weights.query_HdD, expected)
    torch.testing.assert_close(weights.key_HdD[0], weights.key_HdD[1])  # two heads of queries read one of keys


def test_maps_of_scores_have_the_products_of_the_heads() -> None:
    _, weights = parent_weights("llama")
    for heads in ([2], [0, 1]):
        key_ND, query_ND = score_maps(weights, heads, state=32)
        products = sum(weights.query_HdD[head].T @ weights.key_HdD[head] for head in heads)
        torch.testing.assert_close(query_ND.T @ key_ND, products, atol=1e-5, rtol=0)
    key_ND, query_ND = score_maps(weights, [0, 1], state=4)
    assert key_ND.shape == query_ND.shape == (4, 32)
    products = sum(weights.query_HdD[head].T @ weights.key_HdD[head] for head in (0, 1))
    left = torch.linalg.matrix_norm(products - query_ND.T @ key_ND)
    torch.testing.assert_close(left, torch.linalg.svdvals(products)[4:].square().sum().sqrt(), atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox"])
@torch.no_grad()
def test_mamba2_starts_with_values_keys_and_queries(family: str) -> None:
    parent, weights = parent_weights(family)
    mixer: Any = build_mixer(twin_config(parent, "mamba2", MixerSize(), range(4)), 0)
    start_mixer(mixer, weights, "gate", X.flatten(0, 1))
    parts = mixer.in_proj(X).split([32, 32, 32, 32, 4], dim=-1)
    convolved = mixer.conv1d(torch.cat(parts[1:4], -1).transpose(1, 2))[..., :7].transpose(1, 2)
    x, keys, queries = convolved.split(32, -1)
    maps = (weights.value_HdD, weights.key_HdD, weights.query_HdD)
    biases = (weights.value_bias_Hd, weights.key_bias_Hd, weights.query_bias_Hd)
    for part, map_HdD, bias_Hd in zip((x, keys, queries), maps, biases, strict=True):
        expected = torch.einsum("bld,hed->blhe", X, map_HdD) + bias_Hd
        for head in range(4):  # each head of keys and queries has its own scale
            got, want = part.unflatten(-1, (4, 8))[:, :, head], expected[:, :, head]
            torch.testing.assert_close(got / got.norm(), want / want.norm(), atol=1e-5, rtol=0)
    assert float(x.square().mean().sqrt()) == pytest.approx(RMS, rel=1e-4)
    out = weights.out_DHd.flatten(1)
    torch.testing.assert_close(mixer.out_proj.weight, out)
    torch.testing.assert_close(mixer.in_proj.weight[:32], (out.T + weights.value_HdD.flatten(0, 1)) / 2)
    if weights.out_bias_D is not None:
        torch.testing.assert_close(mixer.out_proj.bias, weights.out_bias_D)


@torch.no_grad()
def test_two_channels_of_a_wider_mixer_share_a_channel_of_attention() -> None:
    parent, weights = parent_weights("llama")
    mixer: Any = build_mixer(twin_config(parent, "mamba2", MixerSize(expand=2), range(4)), 0)
    start_mixer(mixer, weights, "attention", X.flatten(0, 1))
    assert mixer.num_heads == mixer.n_groups == 8
    first, second = mixer.out_proj.weight.split(32, dim=1)
    torch.testing.assert_close(first, second)
    torch.testing.assert_close(first + second, weights.out_DHd.flatten(1))


@torch.no_grad()
def test_mamba_starts_with_values_and_the_directions_of_the_scores() -> None:
    parent, weights = parent_weights("gpt2")
    mixer: Any = build_mixer(twin_config(parent, "mamba", MixerSize(state_size=4), range(4)), 0)
    x_ND = torch.randn(400, 32, generator=torch.Generator().manual_seed(1))
    start_mixer(mixer, weights, "attention", x_ND)
    features = torch.nn.functional.silu(x_ND @ mixer.in_proj.weight[:32].T + mixer.conv1d.bias)
    rows = mixer.x_proj.weight[mixer.time_step_rank :]
    for part, map_ND in zip(rows.chunk(2), score_maps(weights, range(4), 4), strict=True):
        got, expected = features @ part.T, x_ND @ map_ND.T
        assert torch.corrcoef(torch.stack([got.flatten(), expected.flatten()]))[0, 1] > 0.85


@pytest.mark.parametrize("family", ["llama", "gpt2"])  # without and with a bias of the outputs
@torch.no_grad()
def test_least_squares_finds_an_output_projection(family: str) -> None:
    parent, _ = parent_weights(family)
    config = twin_config(parent, "mamba2", MixerSize(), range(4))
    torch.manual_seed(0)
    mixer, other = (build_mixer(config, 0).eval() for _ in range(2))
    other.load_state_dict(mixer.state_dict())
    torch.nn.init.normal_(other.out_proj.weight)  # type: ignore[arg-type]
    batches = [(x, other(x)) for x in torch.randn(10, 4, 16, 32, generator=torch.Generator().manual_seed(2))]
    fit_outputs(mixer, batches)
    torch.testing.assert_close(mixer.out_proj.weight, other.out_proj.weight, atol=1e-3, rtol=0)
    assert (mixer.out_proj.bias is None) == (family == "llama")
    mixer.out_proj.weight.mul_(-0.3)  # type: ignore[operator]
    fit_outputs(mixer, batches, scale_only=True)
    torch.testing.assert_close(mixer.out_proj.weight, other.out_proj.weight, atol=1e-3, rtol=0)
