"""How a mixer starts: from the weights of the attention that it replaces, and from least squares on its outputs.

A recurrent mixer without its gate and decay is linear attention (arXiv 2006.16236): `y_t = sum_s (C_t . B_s) x_s`. Its
x starts as attention's values, B as keys, C as queries, and its output projection as attention's (Wang et al., "The
Mamba in the Llama", arXiv 2408.15237, section 3). The SiLU behind the convolution is nearly linear for small inputs, so
these maps are scaled down; the convolution starts as the identity.

Notation: D width, I channels of the mixer, N features of a state, H heads of attention, d features of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.models.mamba.modeling_mamba import MambaMixer

from manticore.alignment.ridge import DAMPINGS, Affine, Moments
from manticore.growth.attention_weights import AttentionWeights

Start = Literal["random", "attention", "gate"]
"""`random`: transformers' own. `attention`: x, B, C and outputs from attention. `gate`: also the gate, as
`(W_O^T + W_V) / 2`."""

RMS = 0.25
"""Root mean square of the inputs of the SiLU at the start."""

CHOICE_SHARE = 8
"""One of this number of batches is left out of a least-squares fit, to choose its damping."""


@torch.no_grad()
def start_mixer(mixer: Any, weights: AttentionWeights, start: Start, x_ND: Tensor) -> None:
    """Set the weights of a mixer from those of attention.

    Args:
        mixer: transformers' `MambaMixer` or `Mamba2Mixer`, with fresh weights.
        weights: of the attention that it replaces.
        start: what is set.
        x_ND: inputs of attention, which the scales are measured on.
    """
    if mixer.out_proj.bias is not None and weights.out_bias_D is not None:
        mixer.out_proj.bias.copy_(weights.out_bias_D)
    if start == "random":
        return
    inner = int(mixer.intermediate_size)
    channel_I = weights.channels(inner)
    value_ID, value_bias_I = weights.value_HdD.flatten(0, 1)[channel_I], weights.value_bias_Hd.flatten()[channel_I]
    copies = inner / min(inner, weights.heads * weights.head_width)
    mixer.out_proj.weight.copy_(weights.out_DHd.flatten(1)[:, channel_I] / copies)
    is_mamba = isinstance(mixer, MambaMixer)
    x_rows, gate_rows = (slice(0, inner), slice(inner, 2 * inner))
    if not is_mamba:
        x_rows, gate_rows = gate_rows, x_rows
    if start == "gate":
        mixer.in_proj.weight[gate_rows] = (weights.out_DHd.flatten(1)[:, channel_I].T + value_ID) / 2
    mixer.conv1d.weight.zero_()
    mixer.conv1d.weight[..., -1] = 1.0
    scale = _scale(x_ND @ value_ID.T + value_bias_I)
    mixer.in_proj.weight[x_rows] = scale * value_ID
    mixer.conv1d.bias.zero_()
    mixer.conv1d.bias[:inner] = scale * value_bias_I
    if is_mamba:
        _start_state_of_mamba(mixer, weights, x_ND)
    else:
        _start_state_of_mamba2(mixer, weights, x_ND, channel_I)


def _start_state_of_mamba2(mixer: Any, weights: AttentionWeights, x_ND: Tensor, channel_I: Tensor) -> None:
    """B and C of each group from the keys and queries of the heads that its channels stand for."""
    inner, state, groups = int(mixer.intermediate_size), int(mixer.ssm_state_size), int(mixer.n_groups)
    for group, channel_C in enumerate(channel_I.chunk(groups)):
        heads = (channel_C // weights.head_width).unique().tolist()
        maps = zip(score_maps(weights, heads, state), score_biases(weights, heads, state), strict=True)
        for part, (map_ND, bias_N) in enumerate(maps):  # B, then C
            scale = _scale(x_ND @ map_ND.T + bias_N)
            start = inner + (part * groups + group) * state
            mixer.in_proj.weight[inner + start : inner + start + state] = scale * map_ND
            mixer.conv1d.bias[start : start + state] = scale * bias_N


def _start_state_of_mamba(mixer: Any, weights: AttentionWeights, x_ND: Tensor) -> None:
    """B and C from keys and queries of all heads, as least-squares maps of x, which is what Mamba reads them from."""
    values_NI = x_ND @ mixer.in_proj.weight[: mixer.intermediate_size].T
    features_NI = torch.nn.functional.silu(values_NI + mixer.conv1d.bias)
    rows = mixer.x_proj.weight[mixer.time_step_rank :]
    for part, map_ND in zip(
        rows.chunk(2), score_maps(weights, range(weights.heads), mixer.ssm_state_size), strict=True
    ):
        target_NN = x_ND @ map_ND.T
        moments = uncentred(features_NI, _scale(target_NN) / RMS * target_NN)
        part.copy_(moments.solve(1e-3).weight_ED)


def score_maps(weights: AttentionWeights, heads: Sequence[int], state: int) -> tuple[Tensor, Tensor]:
    """Keys and queries (N, D) whose products are the scores of heads, `sum_h x^T Wq_h^T Wk_h x'`.

    One head of at most N features is taken as it is, and filled up with zeros; otherwise the two maps are the best ones
    of rank N, from the singular value decomposition of the sum.
    """
    query_MD, key_MD = (part[list(heads)].flatten(0, 1) for part in (weights.query_HdD, weights.key_HdD))
    if len(heads) == 1 and len(query_MD) <= state:
        return tuple(_filled(part, state) for part in (key_MD, query_MD))  # type: ignore[return-value]
    left_DR, values_R, right_RD = torch.linalg.svd(query_MD.T @ key_MD, full_matrices=False)
    root_R1 = values_R[:state, None].sqrt()
    return _filled(root_R1 * right_RD[:state], state), _filled(root_R1 * left_DR.T[:state], state)


def score_biases(weights: AttentionWeights, heads: Sequence[int], state: int) -> tuple[Tensor, Tensor]:
    """Biases (N,) of the maps of `score_maps` if they are those of one head, otherwise 0."""
    if len(heads) > 1 or weights.head_width > state:
        return torch.zeros(state), torch.zeros(state)
    return _filled(weights.key_bias_Hd[heads[0]], state), _filled(weights.query_bias_Hd[heads[0]], state)


def _filled(x: Tensor, rows: int) -> Tensor:
    return torch.cat([x, x.new_zeros(rows - len(x), *x.shape[1:])])


def _scale(y: Tensor) -> Tensor:
    return RMS / y.square().mean().sqrt().clamp(min=1e-12)


def uncentred(x_ND: Tensor, y_NE: Tensor) -> Moments:
    """Moments of a map without bias: of the rows and of their negatives, whose means are 0."""
    moments = Moments(x_ND.shape[1], y_NE.shape[1])
    moments.add(torch.cat([x_ND, -x_ND]), torch.cat([y_NE, -y_NE]))
    return moments


def fit_outputs(mixer: Any, batches: Sequence[tuple[Tensor, Tensor]], scale_only: bool = False) -> None:
    """Set the output projection by least squares from the mixer's features to attention's outputs.

    Args:
        mixer: the mixer.
        batches: inputs and outputs of attention, each (B, L, D). Some are left out of the fit: on them the damping is
            chosen, and whether the projection is replaced at all.
        scale_only: the projection keeps its direction and is multiplied by a number.
    """
    with_bias = mixer.out_proj.bias is not None
    fit, choice = (Moments(mixer.intermediate_size, mixer.out_proj.out_features) for _ in range(2))
    for index, (x_BLD, y_BLD) in enumerate(batches):
        features, targets = _features(mixer, x_BLD).flatten(0, 1), y_BLD.flatten(0, 1).float()
        moments = choice if index % CHOICE_SHARE == CHOICE_SHARE - 1 else fit
        if with_bias:
            moments.add(features, targets)
        else:
            moments.add(torch.cat([features, -features]), torch.cat([targets, -targets]))
    measured = choice if choice.count else fit
    initial = _affine(mixer.out_proj)
    maps = [_scaled(fit, initial)] if scale_only else [initial, *fit.solve_each(DAMPINGS)]
    best = min(maps, key=measured.unexplained)
    with torch.no_grad():
        mixer.out_proj.weight.copy_(best.weight_ED)
        if with_bias:
            mixer.out_proj.bias.copy_(best.bias_E)


def _affine(linear: nn.Linear) -> Affine:
    bias = torch.zeros(linear.out_features) if linear.bias is None else linear.bias.detach()
    return Affine(linear.weight.detach().double(), bias.double())


def _scaled(moments: Moments, affine: Affine) -> Affine:
    """The map times the number that fits best, and with the bias that does."""
    weight_ED = affine.weight_ED
    predicted = (weight_ED @ moments.xx_DD * weight_ED).sum().clamp(min=1e-30)
    weight_ED = weight_ED * ((weight_ED * moments.yx_ED).sum() / predicted)
    return Affine(weight_ED, moments.y_E - weight_ED @ moments.x_D)


@torch.no_grad()
def _features(mixer: Any, x_BLD: Tensor) -> Tensor:
    """What the output projection reads: (B, L, I)."""
    caught: list[Tensor] = []
    handle = mixer.out_proj.register_forward_pre_hook(lambda module, args: caught.append(args[0]))
    try:
        mixer(x_BLD.float())
    finally:
        handle.remove()
    return caught[0].float()
