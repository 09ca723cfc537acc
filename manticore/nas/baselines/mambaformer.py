"""MambaFormer: Mamba first, then attention and Mamba in turn, and no positions: the recurrence tells where a token is.

Park et al., "Can Mamba Learn How to Learn?", arXiv 2402.04248, in the order of the authors' code
(krafton-ai/mambaformer-icl, `mixer_seq_simple.py`).
"""

from __future__ import annotations

import math

from torch import nn

from manticore.nas.baselines.blocks import Attention, Backbone, Mamba, Part


def mambaformer(width: int, layers: int, heads: int = 8, state: int = 16) -> Backbone:
    """One Mamba block more than asked for, first; then `layers` blocks: attention at even places, Mamba at odd ones.

    Four layers are Mamba, attention, Mamba, attention, Mamba. Each block is LayerNorm, mixer, residual; a LayerNorm
    closes. Attention is causal over everything, with biases. There are no MLPs, no positions and no dropout. As in the
    authors' code, biases start at zero and a Mamba's last map is divided by the root of the number of layers.

    Args:
        width: D.
        layers: blocks after the first.
        heads: of attention; must divide the width, or ManticoreError is raised.
        state: features of Mamba's recurrent state for each channel.
    """
    shrink = math.sqrt(max(1, layers))
    parts: list[Part] = [Mamba(width, state, shrink)]
    for place in range(layers):
        parts.append(Mamba(width, state, shrink) if place % 2 else Attention(width, heads))
    return Backbone(width, parts, nn.LayerNorm)
