"""The head of a hybrid, applied to its stream outside of a forward pass."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from manticore.modeling.modeling_manticore import HybridForCausalLM


def head_logits(model: Any, h_BLD: Tensor, attention_mask: Tensor | None) -> Tensor:
    """The logits of a hybrid from its normalized stream (B, L, D), as its forward pass has them."""
    if isinstance(model, HybridForCausalLM):
        logits: Tensor = model.logit_scale(model.lm_head(h_BLD))
    else:
        logits = model.score(model.score.select_states(h_BLD, attention_mask), h_BLD.shape[1])
    return logits
