"""Trains P, Q and bypasses by gradient steps after the closed-form fit; all other parameters are frozen."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import cycle

import torch
from torch import nn

from manticore.alignment.calibration import CalibrationBatch
from manticore.errors import ManticoreError, NonFiniteLoss
from manticore.nas.selection.path_scores import next_token_loss
from manticore.nas.supernet import Supernet, is_projector_weight
from manticore.utils.module_state import eval_mode, trainable_only

RATE = 1e-3
"""Peak learning rate of AdamW; it decays to zero along half a cosine."""


def refine(
    supernet: Supernet,
    batches: Sequence[CalibrationBatch],
    steps: int,
    rate: float = RATE,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train the projectors of a language-model supernet in place, on one path drawn from the alphas at each step.

    AdamW without weight decay, gradient norm clipped at 1.

    Args:
        supernet: with an `lm` head, in the residual topology.
        batches: one for each step; repeated after the last.
        steps: number of optimizer steps.
        rate: peak learning rate.
        on_step: called after each step with its number, from 1, and its loss in nats per token.

    Raises:
        ManticoreError: the supernet does not predict next tokens, or has no donor.
        NonFiniteLoss: the loss is not finite; the projectors keep the values of the previous step.
    """
    projectors = [p for name, p in supernet.named_parameters() if is_projector_weight(name)]
    if supernet.head_spec.kind != "lm" or not projectors:
        raise ManticoreError("gradient steps on projectors need a language model in the residual topology")
    optimizer = torch.optim.AdamW(projectors, lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * step / steps)))
    with eval_mode(supernet), trainable_only(supernet, projectors):
        for step, batch in zip(range(1, steps + 1), cycle(batches), strict=False):
            loss = next_token_loss(supernet, batch.token_batch, _mixed_path(supernet)).mean()
            if not loss.isfinite():
                raise NonFiniteLoss(f"the loss became {loss.item()} at step {step} of alignment; take fewer --steps")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(projectors, 1.0)
            optimizer.step()
            schedule.step()
            on_step(step, loss.item())
    optimizer.zero_grad()


def _mixed_path(supernet: Supernet) -> list[str]:
    """A path drawn from the alphas with at least one donor; other paths train no projector."""
    while True:
        path = supernet.sample()
        if any(name in supernet.components and name != supernet.base for name in path):
            return path
