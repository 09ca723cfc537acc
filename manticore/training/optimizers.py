"""Optimizer of the weights and learning-rate schedules. The optimizer of the alphas is the strategy's."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from manticore.modeling.branches import DonorBranch
from manticore.training.muon import Muon
from manticore.training.options import WeightOptions

EMBEDDINGS_AND_HEAD = ("embed", "wte", "wpe", "head", "score", "positions", "tokens")
"""Substrings of the names of embeddings, position tables and heads."""


def weight_optimizer(
    parameters: Iterable[tuple[str, nn.Parameter]],
    options: WeightOptions,
    donor: Collection[str] = (),
    scales: Mapping[str, float] | None = None,
) -> Optimizer:
    """AdamW, or Muon for hidden matrices and AdamW for all other parameters.

    Vectors and Mamba's `A_log` have no weight decay.

    Args:
        parameters: the parameters with their names.
        options: learning rates and other settings.
        donor: names of the parameters of donor layers, whose learning rate is scaled by `donor_lr_scale`.
        scales: further factors of learning rates, by the names of parameters.
    """
    by_settings: dict[tuple[bool, float, float], list[nn.Parameter]] = defaultdict(list)
    for name, parameter in parameters:
        outer = is_embedding_or_head(name)
        constant = parameter.ndim < 2 or name.endswith("A_log")
        use_muon = options.optimizer == "muon" and parameter.ndim == 2 and not constant and not outer
        lr_scale = options.embedding_lr_scale if outer else options.donor_lr_scale if name in donor else 1.0
        lr_scale *= 1.0 if scales is None else scales[name]
        by_settings[use_muon, lr_scale, 0.0 if constant else options.weight_decay].append(parameter)
    groups: dict[bool, list[dict[str, Any]]] = {True: [], False: []}
    # The learning rate of the first group is logged: it is one without a scale, if there is any.
    for use_muon, lr_scale, decay in sorted(by_settings, key=lambda settings: settings[1] != 1.0):
        params = by_settings[use_muon, lr_scale, decay]
        groups[use_muon].append({"params": params, "lr": options.lr * lr_scale, "weight_decay": decay})
    betas = (options.beta1, options.beta2)
    if groups[True]:
        return Muon(groups[True], groups[False], betas)
    return AdamW(groups[False], lr=options.lr, betas=betas, fused=True)


def donor_parameter_names(net: nn.Module) -> set[str]:
    """Names of the parameters of donors' layers, without projectors."""
    segments = [f"{name}.segment." for name, part in net.named_modules() if isinstance(part, DonorBranch)]
    return {name for name, _ in net.named_parameters() if name.startswith(tuple(segments))}


def is_embedding_or_head(name: str) -> bool:
    """Whether a parameter belongs to an embedding, a position table or a head; none is inside a segment."""
    return ".segment." not in name and any(part in name for part in EMBEDDINGS_AND_HEAD)


def cosine(optimizer: Optimizer, steps: int, min_lr_ratio: float, warmup_steps: int = 0) -> LambdaLR:
    """Linear warm-up, then half a cosine down to `min_lr_ratio` times the peak learning rate at `steps`."""

    def factor(step: int) -> float:
        if step < warmup_steps:
            return (step + 1) / (warmup_steps + 1)
        progress = (step - warmup_steps) / max(1, steps - warmup_steps)
        return min_lr_ratio + (1 - min_lr_ratio) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    return LambdaLR(optimizer, factor)
