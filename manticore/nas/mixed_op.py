"""What a stage of the supernet computes: its candidates, weighted and summed, with as little work as that takes.

Translators of all candidates into their features are one matrix product, and so are those back, which carry the mixing
weights in their matrices; bypasses are summed before they meet the stream. Narrow values are added to the first
features of wide ones: nothing is copied to be padded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manticore.modeling.branches import DonorBranch, HubBranch
from manticore.modeling.projectors import Bypass, Linear
from manticore.modeling.segments import Context

Term = tuple[Tensor | None, Tensor]
"""A scalar weight, or None for a term that stands alone, and (..., d)."""


def weighted_sum(terms: Sequence[Term]) -> Tensor:
    """Sum of weight times value, (..., D) with D the widest term's width; a term that stands alone is itself."""
    (weight, total), *others = sorted(terms, key=lambda term: -term[1].shape[-1])
    if weight is None:
        assert not others
        return total
    total = weight * total
    for weight, value in others:
        assert weight is not None
        if value.shape[-1] == total.shape[-1]:
            total = total.addcmul(weight.to(total.dtype), value)
        else:
            total[..., : value.shape[-1]].addcmul_(weight.to(total.dtype), value)
    return total


def pad_logits(terms: Sequence[Term]) -> list[Term]:
    """Logits of equal width: an id that a table has no row for is as unlikely there as the least likely of its ids."""
    widest = max(value.shape[-1] for _, value in terms)
    return [(weight, _widened(value, widest)) for weight, value in terms]


def _widened(logits: Tensor, size: int) -> Tensor:
    more = size - logits.shape[-1]
    if not more:
        return logits
    return torch.cat([logits, logits.amin(-1, keepdim=True).expand(*logits.shape[:-1], more)], dim=-1)


def project_in(projectors: Sequence[nn.Module], h_BLD: Tensor) -> list[Tensor]:
    """`P_k h` of every projector; linear ones together in one product."""
    linear = [p for p in projectors if type(p) is Linear]
    if len(linear) < max(2, len(projectors)):
        return [projector(h_BLD) for projector in projectors]
    stacked = F.linear(h_BLD, torch.cat([p.weight for p in linear]), torch.cat([p.bias for p in linear]))
    return list(stacked.split([p.out_features for p in linear], dim=-1))


def project_out(weights: Sequence[Tensor], projectors: Sequence[nn.Module], updates: Sequence[Tensor]) -> Tensor:
    """Sum of `w_k Q_k(update_k)`; linear projectors in one product, their matrices scaled by the weights."""
    linear = [p for p in projectors if type(p) is Linear]
    if len(linear) < len(projectors):
        return weighted_sum([(w, q(update)) for w, q, update in zip(weights, projectors, updates, strict=True)])
    matrix = torch.cat([w * q.weight for w, q in zip(weights, linear, strict=True)], dim=1)
    bias = torch.stack([w * q.bias for w, q in zip(weights, linear, strict=True)]).sum(0)
    return F.linear(updates[0] if len(updates) == 1 else torch.cat(list(updates), dim=-1), matrix, bias)


def apply_bypasses(weights: Sequence[Tensor], bypasses: Sequence[nn.Module], h_BLD: Tensor) -> Tensor:
    """Sum of `w_k R_k h`; linear bypasses in one product, by the weighted sum of their matrices."""
    linear = [bypass for bypass in bypasses if isinstance(bypass, Bypass)]
    if len(linear) < len(bypasses):
        return weighted_sum([(w, bypass(h_BLD)) for w, bypass in zip(weights, bypasses, strict=True)])
    matrix = torch.stack([w * bypass.weight for w, bypass in zip(weights, linear, strict=True)]).sum(0)
    return F.linear(h_BLD, matrix)


def mix(branches: Mapping[str, nn.Module], weights_K: Tensor, h_BLD: Tensor, context: Context) -> Tensor:
    """The stream after a stage: (B, L, D) -> (B, L, D), every candidate weighted by its entry of `weights_K`."""
    weight = dict(zip(branches, weights_K, strict=True))
    donor = {name: branch for name, branch in branches.items() if isinstance(branch, DonorBranch)}
    hub = {name: branch for name, branch in branches.items() if isinstance(branch, HubBranch)}
    terms: list[Term] = [
        (weight[name], branch(h_BLD, context))
        for name, branch in branches.items()
        if name not in donor and name not in hub
    ]
    proj_in = [branch.proj_in for branch in hub.values() if branch.proj_in is not None]
    entered = dict(zip(hub, project_in(proj_in, h_BLD), strict=True))
    for name, one in hub.items():
        terms.append((weight[name], one.forward_unpadded(h_BLD, context, weight[name], entered[name])))
    if not donor:
        return weighted_sum(terms)
    inside = project_in([branch.proj_in for branch in donor.values()], h_BLD)
    updates = [branch.segment_update(u_BLD, context) for branch, u_BLD in zip(donor.values(), inside, strict=True)]
    shares = [weight[name] for name in donor]
    terms.append((torch.stack(shares).sum(), h_BLD))
    out_BLD = weighted_sum(terms) + project_out(shares, [branch.proj_out for branch in donor.values()], updates)
    beside = {name: branch.bypass for name, branch in donor.items() if branch.bypass is not None}
    if not beside:
        return out_BLD
    return out_BLD + apply_bypasses([weight[name] for name in beside], list(beside.values()), h_BLD)
