"""The residual stream of a component that runs alone on text, at every layer boundary of a supernet.

Layers and the embedding of the base are the supernet's copies. The embedding of a donor is that of the loaded
component, because a supernet has none. Where a component is no candidate of a stage, the supernet has no copy of its
layers there, and one is made for the time of the alignment.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from manticore.modeling.branches import BaseBranch, DonorBranch
from manticore.modeling.masking import needed_mask
from manticore.modeling.segments import Context, Segment
from manticore.nas.supernet import Supernet

_COPIES: WeakKeyDictionary[Supernet, dict[tuple[int, str], Segment]] = WeakKeyDictionary()
"""Segments of components at stages of which they are no candidates, by supernet."""


def branch_of(supernet: Supernet, stage: int, name: str) -> BaseBranch | DonorBranch:
    """The branch of component `name` at a stage, counted from 0."""
    branch = supernet.branch(stage, name)
    assert isinstance(branch, BaseBranch | DonorBranch)
    return branch


def segment_of(supernet: Supernet, stage: int, name: str) -> Segment:
    """The layers of component `name` at a stage, counted from 0, also where it is no candidate."""
    if name in supernet.choices.names(stage):
        return branch_of(supernet, stage, name).segment
    copies = _COPIES.setdefault(supernet, {})
    if (stage, name) not in copies:
        start, stop = supernet.layer_boundaries[name][stage : stage + 2]
        copies[stage, name] = supernet.components[name].segment(start, stop).to(supernet.alpha.device).eval()
    return copies[stage, name]


def drop_copies(supernet: Supernet) -> None:
    """Free the layers that `segment_of` has copied."""
    _COPIES.pop(supernet, None)


def context_of(supernet: Supernet, ids_BL: Tensor, mask_BL: Tensor | None) -> Context:
    """Mask, position ids and absolute positions of a forward pass on text that has no padding on the left."""
    position_ids = torch.arange(ids_BL.shape[1], device=ids_BL.device).unsqueeze(0)
    positions = {name: table(position_ids) for name, table in supernet.positions.items()}
    return Context(needed_mask(mask_BL), position_ids, positions)


def own_streams(supernet: Supernet, name: str, ids_BL: Tensor, context: Context) -> list[Tensor]:
    """The stream of component `name` before each stage and after the last: S + 1 tensors (B, L, D_k).

    Absolute positions, if the component has any, are part of the stream from the start, as when it runs alone.
    """
    if name in supernet.embeds:
        x_BLD: Tensor = supernet.embeds[name](ids_BL, context.positions.get(name))
    else:
        component = supernet.components[name]
        tokens = getattr(component.backbone, component.layout.tokens)
        x_BLD = tokens(ids_BL.to(tokens.weight.device)).to(ids_BL.device)  # the component stays on its device
        x_BLD = x_BLD * component.layout.factor(component.config, "embedding_multiplier")
        x_BLD = x_BLD + context.positions[name] if name in context.positions else x_BLD
    streams = [x_BLD]
    for stage in range(supernet.space.stages):
        streams.append(segment_of(supernet, stage, name)(streams[-1], context, stage))
    return streams


def token_rows(x_BLD: Tensor, mask_BL: Tensor | None) -> Tensor:
    """The vectors of all tokens, padding excluded: (B, L, D) -> (N, D)."""
    return x_BLD.flatten(0, 1) if mask_BL is None else x_BLD[mask_BL.bool()]
