"""Initial values of adapters that start from the inputs of their layers, measured on a few batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from manticore.adapters.attach import base_weight
from manticore.adapters.base import adapted_layers
from manticore.utils.module_state import eval_mode


@torch.no_grad()
def input_moments(net: nn.Module, batches: Iterable[Mapping[str, Any]]) -> dict[str, Tensor]:
    """The mean of x x^T over the inputs x of each adapted layer, (n, n) in double precision, without padding.

    Layers whose weights are read without calling them have none.
    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    mask_BL: Tensor | None = None

    def watch(name: str) -> Any:
        def add(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            rows = args[0].flatten(0, -2).double()
            if mask_BL is not None and len(rows) == mask_BL.numel():
                rows = rows[mask_BL.flatten().bool()]
            sums[name] = sums.get(name, torch.zeros(())) + rows.T @ rows
            counts[name] = counts.get(name, 0) + len(rows)

        return add

    handles = [layer.module.register_forward_pre_hook(watch(layer.name)) for layer in adapted_layers(net)]
    try:
        with eval_mode(net):
            for batch in batches:
                mask_BL = batch["attention_mask"]
                net(input_ids=batch["input_ids"], attention_mask=mask_BL)
    finally:
        for handle in handles:
            handle.remove()
    return {name: total / counts[name] for name, total in sums.items()}


def prepare(net: nn.Module, batches: Iterable[Mapping[str, Any]]) -> list[str]:
    """Set the initial values of the adapters of a model from the inputs of their layers on some batches.

    For a layer whose inputs are not seen (`input_moments`) they are taken to be uncorrelated, of equal size. Returns
    sentences that users should read.
    """
    layers = adapted_layers(net)
    if not any(layer.adapter.needs_inputs for layer in layers):
        return []
    moments, unseen = input_moments(net, batches), set()
    for name, module, adapter in layers:
        weight = base_weight(module).detach()
        weight = weight.T if isinstance(module, Conv1D) else weight
        if name not in moments:
            unseen.add(name.rpartition(".")[2])
        adapter.prepare(weight, moments.get(name, torch.eye(adapter.columns, dtype=torch.double)))
    if not unseen:
        return []
    return [
        f"note: the inputs of these layers are not measured, and taken to be uncorrelated: {', '.join(sorted(unseen))}"
    ]
