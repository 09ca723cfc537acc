"""The mixed op: the weighted sum of the branches of a stage, with as few matrix products as possible.

The input projectors of all candidates are one matrix product. The output projectors are another, with their matrices
scaled by the mixing weights. Bypasses are summed before they multiply the stream. A narrow value is added to the first
features of a wide one, so nothing is copied for padding.

Notation: B batch, L length, D width of the stream, K candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manticore.modeling.branches import DonorBranch
from manticore.modeling.projectors import Bypass, Linear
from manticore.modeling.segments import Context

Term = tuple[Tensor | None, Tensor]
"""A weight and a value (B, ..., d). The weight is a scalar, or (B,), one for each sequence, or (1, 1, d), one for each
feature; None for a single term."""


def spread(weight: Tensor, value: Tensor) -> Tensor:
    """A weight, so that it broadcasts over a value (B, ...)."""
    return weight.view(-1, *[1] * (value.dim() - 1)) if weight.dim() == 1 else weight


def weighted_sum(terms: Sequence[Term]) -> Tensor:
    """Sum of weight times value, (..., D) with D the widest term's width. A single unweighted term is returned."""
    (weight, total), *narrower = sorted(terms, key=lambda term: -term[1].shape[-1])
    if weight is None:
        assert not narrower
        return total
    total = spread(weight, total) * total
    for weight, value in narrower:
        assert weight is not None
        weight = spread(weight, value).to(total.dtype)
        if value.shape[-1] == total.shape[-1]:
            total = total.addcmul(weight, value)
        else:
            total[..., : value.shape[-1]].addcmul_(weight, value)
    return total


def pad_logits(terms: Sequence[Term]) -> list[Term]:
    """Logits of equal width. A token id that is missing in a vocabulary gets the smallest logit of that row."""
    widest = max(value.shape[-1] for _, value in terms)
    return [(weight, _padded(value, widest)) for weight, value in terms]


def _padded(logits: Tensor, size: int) -> Tensor:
    missing = size - logits.shape[-1]
    if not missing:
        return logits
    return torch.cat([logits, logits.amin(-1, keepdim=True).expand(*logits.shape[:-1], missing)], dim=-1)


def project_in(projectors: Sequence[nn.Module], h_BLD: Tensor) -> list[Tensor]:
    """`P_k h` of every projector; linear ones together in one product."""
    linear = [p for p in projectors if type(p) is Linear]
    if len(linear) < max(2, len(projectors)):
        return [projector(h_BLD) for projector in projectors]
    stacked = F.linear(h_BLD, torch.cat([p.weight for p in linear]), torch.cat([p.bias for p in linear]))
    return list(stacked.split([p.out_features for p in linear], dim=-1))


def project_out(weights: Sequence[Tensor], projectors: Sequence[nn.Module], updates: Sequence[Tensor]) -> Tensor:
    """Sum of `w_k Q_k(update_k)`. Linear projectors are one product with scaled matrices where weights are scalars."""
    linear = [p for p in projectors if type(p) is Linear]
    if len(linear) < len(projectors) or weights[0].dim():
        return weighted_sum([(w, q(update)) for w, q, update in zip(weights, projectors, updates, strict=True)])
    if len(linear) == 1:
        return F.linear(updates[0], weights[0] * linear[0].weight, weights[0] * linear[0].bias)
    # sum_k w_k (Q_k u_k + b_k) = [w_1 Q_1 ... w_K Q_K] [u_1; ...; u_K] + sum_k w_k b_k
    matrix = torch.cat([w * q.weight for w, q in zip(weights, linear, strict=True)], dim=1)
    bias = torch.stack([w * q.bias for w, q in zip(weights, linear, strict=True)]).sum(0)
    return F.linear(torch.cat(list(updates), dim=-1), matrix, bias)


def apply_bypasses(weights: Sequence[Tensor], bypasses: Sequence[nn.Module], h_BLD: Tensor) -> Tensor:
    """Sum of `w_k R_k h`. Linear bypasses are one product with `sum_k w_k R_k` where weights are scalars."""
    linear = [bypass for bypass in bypasses if isinstance(bypass, Bypass)]
    if len(linear) < len(bypasses) or weights[0].dim():
        return weighted_sum([(w, bypass(h_BLD)) for w, bypass in zip(weights, bypasses, strict=True)])
    matrix = torch.stack([w * bypass.weight for w, bypass in zip(weights, linear, strict=True)]).sum(0)
    return F.linear(h_BLD, matrix)


def residual_sum(branches: Mapping[str, nn.Module], weights_K: Tensor, h_BLD: Tensor, context: Context) -> Tensor:
    """`sum_k w_k y_k` of the residual topology, (B, L, D).

    A donor contributes `w (h + Q(update) + R h)`: the terms `w h` of all donors are one, `(sum of their w) h`.
    """
    weights = dict(zip(branches, weights_K.unbind(-1), strict=True))
    donors = {name: branch for name, branch in branches.items() if isinstance(branch, DonorBranch)}
    terms: list[Term] = [
        (weights[name], branch(h_BLD, context)) for name, branch in branches.items() if name not in donors
    ]
    if not donors:
        return weighted_sum(terms)
    # u_k = P_k h for all donors in one product, then Segment_k(u_k) - u_k for each
    inputs = project_in([branch.proj_in for branch in donors.values()], h_BLD)
    updates = [branch.segment_update(u_BLD, context) for branch, u_BLD in zip(donors.values(), inputs, strict=True)]
    donor_weights = [weights[name] for name in donors]
    total = donor_weights[0] if len(donor_weights) == 1 else torch.stack(donor_weights).sum(0)
    terms.append((total, h_BLD))  # sum_k w_k h over donors
    out_BLD = weighted_sum(terms) + project_out(donor_weights, [branch.proj_out for branch in donors.values()], updates)
    bypasses = {name: branch.bypass for name, branch in donors.items() if branch.bypass is not None}
    if not bypasses:
        return out_BLD
    return out_BLD + apply_bypasses([weights[name] for name in bypasses], list(bypasses.values()), h_BLD)


def gated_sum(branches: Mapping[str, nn.Module], weights_K: Tensor, h_BLD: Tensor, context: Context) -> Tensor:
    """`sum_k w_k y_k` of branches whose weight is also their gate (`HubBranch`), (B, L, D)."""
    hubs: list[Any] = list(branches.values())
    projected = project_in([branch.proj_in for branch in hubs], h_BLD)
    return weighted_sum(
        [
            (weight, branch.forward_unpadded(h_BLD, context, spread(weight, h_BLD), projected_BLD))
            for weight, branch, projected_BLD in zip(weights_K.unbind(-1), hubs, projected, strict=True)
        ]
    )
