"""One-hot weights of a sampled path with the gradient of a softmax (GDAS, arXiv 1910.04465)."""

from __future__ import annotations

import torch
from torch import Tensor

from manticore.nas.relaxations.base import RelaxationContext, relaxations

FIRST, LAST = 10.0, 0.1
"""Temperature at the start and at the end of a search; linear in its progress."""


@relaxations.register("gumbel")
def gumbel(alpha_SK: Tensor, context: RelaxationContext) -> Tensor:
    """Forward `onehot(argmax((log softmax(alpha) + g) / T))`, g being Gumbel noise, backward through its softmax.

    Without a source of randomness it is the softmax of the alphas, from which paths are drawn.
    """
    log_p_SK = torch.log_softmax(alpha_SK.float() / context.temperature, dim=-1)
    if context.generator is None:
        return log_p_SK.exp()
    noise_SK = torch.empty_like(log_p_SK).exponential_(generator=context.generator).clamp_min(1e-30).log().neg()
    soft_SK = ((log_p_SK + noise_SK) / (FIRST + (LAST - FIRST) * context.progress)).softmax(-1)
    hard_SK = torch.zeros_like(soft_SK).scatter(-1, soft_SK.argmax(-1, keepdim=True), 1.0)
    return hard_SK + soft_SK - soft_SK.detach()
