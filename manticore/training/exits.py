"""A loss that trains the early exits of a hybrid, so that it may run with fewer stages (SoFT, arXiv 2309.08968)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manticore.components.head_logits import head_logits
from manticore.errors import ManticoreError
from manticore.modeling.modeling_manticore import HybridForCausalLM, HybridWithHead
from manticore.tasks.dataset import IGNORE


class ExitLoss:
    """Mean cross-entropy, in nats, over the scored labels of a batch and over some exits and the whole hybrid.

    An exit after k stages reads the stream there with the hybrid's own norm and head, as `config.exit_stage = k` does
    (the mean of the losses of all sub-models, which share their layers and the head).

    Args:
        model: the hybrid that is trained.
        exits: numbers of stages.

    Raises ManticoreError for a model that is no hybrid of topology residual, or that has no such exits.
    """

    def __init__(self, model: nn.Module, exits: Sequence[int]) -> None:
        if not isinstance(model, HybridForCausalLM | HybridWithHead) or model.model.wiring.norm_in_last_segment:
            raise ManticoreError("finetune.exits is for hybrids of topology residual")
        stages = len(model.model.stages)
        if max(exits) >= stages:
            raise ManticoreError(f"finetune.exits must be below {stages}, the stages of the hybrid, got {max(exits)}")
        self.exits = sorted(set(exits))

    def __call__(self, model: Callable[..., Any], batch: Any) -> Tensor:
        """The loss of a batch."""
        net: Any = model
        mask = batch["attention_mask"]
        out = net.model(input_ids=batch["input_ids"], attention_mask=mask, output_hidden_states=True, use_cache=False)
        width = out.last_hidden_state.shape[-1]
        streams = [net.model.norm(out.hidden_states[stage][..., :width]) for stage in self.exits]
        losses = [self._loss(net, h_BLD, mask, batch["labels"]) for h_BLD in (*streams, out.last_hidden_state)]
        return torch.stack(losses).mean()

    def _loss(self, net: Any, h_BLD: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        logits = head_logits(net, h_BLD, mask).float()
        return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORE)
