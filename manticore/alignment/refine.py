"""Gradient steps on P, Q and bypasses after the closed form: mixed paths learn to predict the next token.

All else is frozen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import nn

from manticore.alignment.batches import CalibrationBatch
from manticore.alignment.fit import CalibrationBatches
from manticore.errors import ManticoreError, NonFiniteLoss
from manticore.nas.selection.path_scores import next_token_loss
from manticore.nas.supernet import Supernet, is_projector_weight

RATE = 1e-3
"""Step size of AdamW; it falls to zero along half a cosine."""


def refine(
    supernet: Supernet,
    text: CalibrationBatches,
    steps: int,
    rate: float = RATE,
    watch: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Train every P, Q and bypass of a language-model supernet in place, a path drawn from the alphas at each step.

    Args:
        supernet: `lm` readout, residual topology.
        text: batches, one a step; read again from the start when they end.
        steps: number of optimizer steps (AdamW, no weight decay, gradient norm clipped at 1).
        rate: largest step size.
        watch: told after each step its number, from 1, and its loss in nats per token.

    Raises:
        ManticoreError: the supernet predicts no next tokens, or has no other path than base.
        NonFiniteLoss: the loss is not a number; projectors are as before that step.
    """
    projectors = [p for name, p in supernet.named_parameters() if is_projector_weight(name)]
    if supernet.readout.kind != "lm" or not projectors:
        raise ManticoreError("gradient steps on projectors need a language model in the residual topology")
    optimizer = torch.optim.AdamW(projectors, lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda at: 0.5 * (1 + math.cos(math.pi * at / steps)))
    batches = _endless(text)
    with _only(supernet, projectors):
        for step in range(1, steps + 1):
            reading = next(batches)
            loss = next_token_loss(supernet, reading, _mixed_path(supernet)).mean()
            if not loss.isfinite():
                raise NonFiniteLoss(f"the loss became {loss.item()} at step {step} of alignment; take fewer --steps")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(projectors, 1.0)
            optimizer.step()
            schedule.step()
            watch(step, loss.item())


def _endless(text: CalibrationBatches) -> Iterator[CalibrationBatch]:
    while True:
        yield from text()


def _mixed_path(supernet: Supernet) -> list[str]:
    """A path drawn from the alphas, with a donor stage: others have no projector to learn."""
    while True:
        path = supernet.sample()
        if any(name in supernet.components and name != supernet.base for name in path):
            return path


@contextmanager
def _only(supernet: Supernet, moved: Sequence[nn.Parameter]) -> Iterator[None]:
    """Gradients for these parameters alone, in evaluation mode; all as before afterwards."""
    wanted = {parameter: parameter.requires_grad for parameter in supernet.parameters()}
    was_training = supernet.training
    try:
        supernet.eval().requires_grad_(False)
        for parameter in moved:
            parameter.requires_grad_(True)
        yield
    finally:
        for parameter, was in wanted.items():
            parameter.requires_grad_(was)
            parameter.grad = None
        supernet.train(was_training)
