"""The loss of a parent in which one layer's attention is replaced by its mixer, for every layer.

The stream before a layer is that of the parent, so only the layers behind it run again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manticore.components import Component
from manticore.growth.pairs import batches_of, context_of, embed
from manticore.modeling.segments import Segment
from manticore.modeling.twins import PARENTS


@torch.no_grad()
def replaced_losses(
    component: Component, ids_NL: Tensor, mixers: Mapping[int, nn.Module]
) -> tuple[float, dict[int, float]]:
    """Mean next-token loss in nats of a parent, and by layer of the parent with the mixer of that layer.

    Args:
        component: the parent.
        ids_NL: blocks of text (N, L).
        mixers: by layer, the module in place of attention, called like it.
    """
    depth, attention = component.depth, PARENTS[str(component.config.model_type)]
    layers = [component.segment(layer, layer + 1, keep_norm=layer == depth - 1).eval() for layer in range(depth)]
    replaced = {layer: _with_mixer(component, layer, mixer, attention) for layer, mixer in mixers.items()}
    context = context_of(ids_NL.shape[1])
    totals: dict[int | None, float] = dict.fromkeys([None, *mixers], 0.0)
    for rows in batches_of(len(ids_NL)):
        streams = [embed(component, ids_NL[rows])]
        for layer in layers:
            streams.append(layer(streams[-1], context, 0))
        totals[None] += _loss_sum(component, streams[-1], ids_NL[rows])
        for index, own in replaced.items():
            h_BLD = own(streams[index], context, 0)
            for layer in layers[index + 1 :]:
                h_BLD = layer(h_BLD, context, 0)
            totals[index] += _loss_sum(component, h_BLD, ids_NL[rows])
    count = ids_NL[:, 1:].numel()
    return totals.pop(None) / count, {layer: total / count for layer, total in totals.items() if layer is not None}


def _with_mixer(component: Component, layer: int, mixer: nn.Module, names: tuple[str, str]) -> Segment:
    segment = component.segment(layer, layer + 1, keep_norm=layer == component.depth - 1).eval()
    setattr(getattr(segment.backbone, names[0])[0], names[1], mixer)
    return segment


def _loss_sum(component: Component, h_BLD: Tensor, ids_BL: Tensor) -> float:
    """Sum of the next-token losses over all positions but the last, from the normalized stream."""
    head: Any = component.head
    logits = head(h_BLD[:, :-1]).flatten(0, 1).float()
    return float(F.cross_entropy(logits, ids_BL[:, 1:].flatten(), reduction="sum"))
