"""Optimizers and schedules, separate for weights and for alphas. Knows nothing of losses."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable
from typing import Any

from torch import nn
from torch.optim import Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from manticore.training.muon import Muon
from manticore.training.options import AlphaOptions, WeightOptions


def weight_optimizer(
    parameters: Iterable[tuple[str, nn.Parameter]], options: WeightOptions, donor: Collection[str] = ()
) -> Optimizer:
    """AdamW, or Muon for hidden matrices, over named parameters; vectors and Mamba's `A_log` are not decayed.

    Args:
        parameters: what moves, by name.
        options: how.
        donor: names of those that belong to a donor component's layers.
    """
    held: dict[tuple[bool, float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in parameters:
        constant = parameter.ndim < 2 or name.endswith("A_log")
        hidden = (
            options.optimizer == "muon" and parameter.ndim == 2 and not constant and not _is_embedding_or_head(name)
        )
        share = (
            options.embedding_lr_scale
            if _is_embedding_or_head(name)
            else options.donor_lr_scale
            if name in donor
            else 1.0
        )
        held[hidden, share, 0.0 if constant else options.weight_decay].append(parameter)
    groups: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    for hidden, share, decay in sorted(held, key=lambda key: key[1] != 1.0):  # the first group's rate is what is logged
        told = {"lr": options.lr * share, "weight_decay": decay}
        groups[hidden].append({"params": held[hidden, share, decay], **told})
    betas = (options.beta1, options.beta2)
    if groups[True]:
        return Muon(groups[True], groups[False], betas)
    return AdamW(groups[False], lr=options.lr, betas=betas, fused=True)


EMBEDDINGS_AND_HEAD = ("embed", "wte", "wpe", "head", "score", "positions", "tokens")


def _is_embedding_or_head(name: str) -> bool:
    """Whether it is an embedding's or a head's, whose rows stand each for itself; nothing inside a stage is."""
    return ".segment." not in name and any(word in name for word in EMBEDDINGS_AND_HEAD)


def alpha_optimizer(alpha: nn.Parameter, options: AlphaOptions) -> Optimizer:
    """Adam over the alphas."""
    return Adam([alpha], lr=options.lr, betas=(options.beta1, options.beta2), weight_decay=0.0)


def cosine(optimizer: Optimizer, steps: int, floor: float, warmup_steps: int = 0) -> LambdaLR:
    """Linear rise over `warmup_steps`, then half a cosine down to `floor` of the peak at `steps`."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        done = (step - warmup_steps) / max(1, steps - warmup_steps)
        return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    return LambdaLR(optimizer, factor)
