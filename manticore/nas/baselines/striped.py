"""A striped hybrid after MAD: recurrent and attention stripes in turn, a SwiGLU after each.

What it is: the pattern of MAD's striped models (Poli et al., arXiv 2403.17844; athms/mad-lab,
`architecture_improvement.py`: mixer, SwiGLU, attention, SwiGLU) with that code's norms (RMSNorm before each part and at
the end), SwiGLU width (8/3 of D, rounded up to 16s) and attention (causal, biases, rotary over all features of a head).

What it is not: MAD's own model. There the recurrent stripe is a multi-head Hyena, attention has 16 heads unless told
otherwise, and the best variant has a mixture of experts for SwiGLU; here the recurrence is Mamba, so that the hybrid
under test and its rival choose from the same mixers. Nor is it the "striped mh-hyena" baseline of the paper's authors,
which has no attention at all.
"""

from __future__ import annotations

from torch import nn

from manticore.nas.baselines.blocks import Attention, Backbone, Mamba, Part, SwiGLU


def striped(width: int, layers: int, heads: int = 8, state: int = 16) -> Backbone:
    """`layers` mixers, Mamba at even places and rotary attention at odd ones, each followed by a SwiGLU.

    Two layers are Mamba, SwiGLU, attention, SwiGLU.

    Args:
        width: D.
        layers: mixers.
        heads: of attention; must divide the width into even parts, or ManticoreError is raised.
        state: features of Mamba's recurrent state for each channel.
    """
    parts: list[Part] = []
    for place in range(layers):
        parts.append(Attention(width, heads, rotary=True) if place % 2 else Mamba(width, state))
        parts.append(SwiGLU(width, swiglu_width(width)))
    return Backbone(width, parts, nn.RMSNorm)


def swiglu_width(width: int) -> int:
    """Features inside a SwiGLU: 8/3 of the width, so that it weighs as much as an MLP of 4, rounded up to 16s."""
    return 16 * -(-(8 * width // 3) // 16)
