"""A striped hybrid as in MAD: Mamba and attention in turn, each followed by a SwiGLU.

Same as MAD: the pattern of MAD's striped models (Poli et al., arXiv 2403.17844; athms/mad-lab,
`architecture_improvement.py`: mixer, SwiGLU, attention, SwiGLU) with that code's norms (RMSNorm before each block and
at the end), SwiGLU width (8/3 of D, rounded up to a multiple of 16) and attention (causal, biases, rotary over all
features of a head).

Different from MAD: MAD's recurrent block is a multi-head Hyena, its attention has 16 heads by default, and its best
variant has a mixture of experts for SwiGLU. Here the recurrence is Mamba, so that the hybrid and this baseline have the
same mixers. The "striped mh-hyena" baseline of the paper's authors has no attention at all.
"""

from __future__ import annotations

from torch import nn

from manticore.nas.baselines.blocks import Attention, Backbone, Mamba, Part, SwiGLU


def striped(width: int, layers: int, heads: int = 8, state: int = 16) -> Backbone:
    """`layers` mixers, Mamba at even indices and rotary attention at odd ones, each followed by a SwiGLU.

    With two layers: Mamba, SwiGLU, attention, SwiGLU.

    Args:
        width: D.
        layers: mixers.
        heads: of attention; must divide the width into even parts, or ManticoreError is raised.
        state: features of Mamba's recurrent state for each channel.
    """
    parts: list[Part] = []
    for index in range(layers):
        parts.append(Attention(width, heads, rotary=True) if index % 2 else Mamba(width, state))
        parts.append(SwiGLU(width, swiglu_width(width)))
    return Backbone(width, parts, nn.RMSNorm)


def swiglu_width(width: int) -> int:
    """Features inside a SwiGLU: 8/3 of the width, as many weights as an MLP of 4 D, rounded up to 16."""
    return 16 * -(-(8 * width // 3) // 16)
