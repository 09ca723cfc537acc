"""MambaFormer: a Mamba block, then attention and Mamba in turn. It has no positions; the recurrence encodes them.

Park et al., "Can Mamba Learn How to Learn?", arXiv 2402.04248, in the order of the authors' code
(krafton-ai/mambaformer-icl, `mixer_seq_simple.py`).
"""

from __future__ import annotations

import math

from torch import nn

from manticore.nas.baselines.blocks import Attention, Backbone, Mamba, Part


def mambaformer(width: int, layers: int, heads: int = 8, state: int = 16) -> Backbone:
    """One Mamba block, then `layers` blocks: attention at even indices, Mamba at odd ones.

    With four layers: Mamba, attention, Mamba, attention, Mamba. Each block is LayerNorm, mixer, residual; a LayerNorm
    follows the last. Attention is causal and global, with biases. There are no MLPs, no positions and no dropout. As
    in the authors' code, biases start at zero and Mamba's output projections are divided by sqrt(layers).

    Args:
        width: D.
        layers: blocks after the first.
        heads: of attention; must divide the width, or ManticoreError is raised.
        state: features of Mamba's recurrent state for each channel.
    """
    shrink = math.sqrt(max(1, layers))
    parts: list[Part] = [Mamba(width, state, shrink)]
    for index in range(layers):
        parts.append(Mamba(width, state, shrink) if index % 2 else Attention(width, heads))
    return Backbone(width, parts, nn.LayerNorm)
