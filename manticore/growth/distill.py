"""Trains the mixer of one layer on the cached inputs and outputs of the attention that it replaces."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from manticore.growth.attention_weights import AttentionWeights
from manticore.growth.pairs import batches_of
from manticore.growth.starts import Start, fit_outputs, start_mixer
from manticore.kernels import installed
from manticore.utils.devices import Precision, autocast

FIT_BLOCKS = 64
"""Largest number of blocks of a least-squares fit."""

WARMUP_SHARE, LAST_SHARE = 0.05, 0.1
"""Share of the steps in which the rate rises, and the share of the peak at which the cosine ends."""


@dataclass(frozen=True)
class DistillOptions:
    """How a mixer starts and learns.

    Attributes:
        start: from what its weights start.
        ridge: fit the output projection by least squares, at the start and at the end.
        steps, batch_size, lr: optimizer steps of AdamW, blocks of a step, and the peak of the rate.
        seed: of fresh weights and of the order of blocks.
        precision: of the forward passes of training.
    """

    start: Start
    ridge: bool
    steps: int
    batch_size: int
    lr: float
    seed: int
    precision: Precision = "32-true"


@dataclass(frozen=True)
class LayerScore:
    """How well a mixer reproduces its attention on held-out blocks.

    Attributes:
        start: error at the start, as a share of the variance of attention's outputs.
        error: the same after training.
        seconds: time of starting and training.
    """

    start: float
    error: float
    seconds: float


def distill(
    mixer: Any,
    weights: AttentionWeights,
    pairs: tuple[NDArray[np.float16], NDArray[np.float16]],
    held_out: int,
    options: DistillOptions,
) -> LayerScore:
    """Start and train a mixer, in place.

    Args:
        mixer: transformers' `MambaMixer` or `Mamba2Mixer`, with fresh weights.
        weights: of the attention that it replaces.
        pairs: inputs and outputs (N, L, D) of that attention; the last `held_out` blocks are only measured on.
        held_out: number of blocks.
        options: how it starts and learns.
    """
    started = time.monotonic()
    count = len(pairs[0]) - held_out
    fit_rows = np.linspace(0, count - 1, min(count, FIT_BLOCKS)).round().astype(int)
    with installed():
        mixer.eval()
        batches = [_batch(pairs, fit_rows[rows]) for rows in batches_of(len(fit_rows))]
        start_mixer(mixer, weights, options.start, batches[0][0].flatten(0, 1))
        fit_outputs(mixer, batches, scale_only=not options.ridge)
        at_start = error_share(mixer, pairs, count)
        if options.steps:
            _train(mixer, pairs, count, options)
            if options.ridge:
                fit_outputs(mixer, batches)
        return LayerScore(at_start, error_share(mixer, pairs, count), time.monotonic() - started)


@torch.no_grad()
def error_share(mixer: Any, pairs: tuple[NDArray[np.float16], NDArray[np.float16]], first: int) -> float:
    """Squared error on the blocks from `first` on, as a share of the variance of the targets."""
    errors, squares, count = 0.0, 0.0, 0
    total_D = torch.zeros(pairs[1].shape[-1], dtype=torch.float64)
    for rows in batches_of(len(pairs[0]) - first):
        x_BLD, y_BLD = _batch(pairs, range(first + rows.start, first + rows.stop))
        errors += float((mixer(x_BLD) - y_BLD).square().sum(dtype=torch.float64))
        total_D += y_BLD.double().sum((0, 1))
        squares += float(y_BLD.double().square().sum())
        count += y_BLD.shape[0] * y_BLD.shape[1]
    variance = squares - float(total_D.square().sum()) / count
    return errors / variance if variance > 0 else math.nan


def _train(
    mixer: Any, pairs: tuple[NDArray[np.float16], NDArray[np.float16]], count: int, options: DistillOptions
) -> None:
    """Minimize the squared error, divided by the mean square of the targets."""
    optimizer = torch.optim.AdamW(mixer.parameters(), options.lr, (0.9, 0.95), weight_decay=0.0)
    mean_square = float(np.square(pairs[1][: min(count, FIT_BLOCKS)], dtype=np.float32).mean())
    mixer.train()
    for step, rows in enumerate(_orders(count, options)):
        for group in optimizer.param_groups:
            group["lr"] = options.lr * rate(step, options.steps)
        x_BLD, y_BLD = _batch(pairs, rows)
        with autocast(options.precision):
            loss = (mixer(x_BLD) - y_BLD).square().mean() / max(mean_square, 1e-30)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(mixer.parameters(), 1.0)
        optimizer.step()
    mixer.eval()


def rate(step: int, steps: int) -> float:
    """The share of the peak rate at a step: a linear rise, then a cosine."""
    warmup = max(1, round(WARMUP_SHARE * steps))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return LAST_SHARE + (1 - LAST_SHARE) * (1 + math.cos(math.pi * progress)) / 2


def _orders(count: int, options: DistillOptions) -> Iterator[Sequence[int]]:
    """Rows of the blocks of every step: passes over all blocks, each in its own order."""
    generator = np.random.default_rng(options.seed)
    queue: list[int] = []
    for _ in range(options.steps):
        while len(queue) < options.batch_size:
            queue += generator.permutation(count).tolist()
        yield sorted(queue[: options.batch_size])
        del queue[: options.batch_size]


def _batch(pairs: tuple[NDArray[np.float16], NDArray[np.float16]], rows: Any) -> tuple[Tensor, Tensor]:
    """Inputs and outputs (B, L, D) of some blocks, in fp32."""
    index = np.asarray(rows)
    return tuple(torch.from_numpy(part[index].astype(np.float32)) for part in pairs)  # type: ignore[return-value]
