"""A component's own residual stream at every cut, run by itself on text. Knows nothing of projectors.

Base's parts are the supernet's. A donor component's layers are the supernet's as well; its embedding, which no
supernet has, is the component's own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from manticore.modeling.branches import BaseBranch, DonorBranch
from manticore.modeling.masking import needed_mask
from manticore.modeling.segments import Context
from manticore.nas.supernet import Supernet


def branch_of(supernet: Supernet, stage: int, name: str) -> BaseBranch | DonorBranch:
    """What runs stage `stage`, counted from 0, if component `name` does."""
    branches = supernet.stages[stage]
    assert isinstance(branches, nn.ModuleDict)
    branch = branches[name]
    assert isinstance(branch, BaseBranch | DonorBranch)
    return branch


def context_of(supernet: Supernet, ids_BL: Tensor, mask_BL: Tensor | None) -> Context:
    """What surrounds a forward pass of these tokens, as the supernet itself makes it."""
    position_ids = torch.arange(ids_BL.shape[1], device=ids_BL.device).unsqueeze(0)
    positions = {name: table(position_ids) for name, table in supernet.positions.items()}
    return Context(needed_mask(mask_BL), position_ids, positions)


def own_streams(supernet: Supernet, name: str, ids_BL: Tensor, context: Context) -> list[Tensor]:
    """Component `name`'s stream before each stage and after the last: S + 1 tensors (B, L, D_k).

    Its absolute positions, where it has any, are in it from the start, as they are when it runs alone.
    """
    if name in supernet.embeds:
        x_BLD: Tensor = supernet.embeds[name](ids_BL, context.positions.get(name))
    else:
        component = supernet.components[name]
        tokens = getattr(component.backbone, component.layout.tokens)
        x_BLD = tokens(ids_BL.to(tokens.weight.device)).to(ids_BL.device)  # it stays where the component was loaded
        x_BLD = x_BLD + context.positions[name] if name in context.positions else x_BLD
    out = [x_BLD]
    for stage in range(supernet.space.stages):
        out.append(branch_of(supernet, stage, name).segment(out[-1], context, stage))
    return out


def rows(x_BLD: Tensor, mask_BL: Tensor | None) -> Tensor:
    """The vectors of all tokens that are no padding, (N, D)."""
    return x_BLD.flatten(0, 1) if mask_BL is None else x_BLD[mask_BL.bool()]
