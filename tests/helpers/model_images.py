"""Pairs of models that differ by a rotation of the residual stream, so that perfect projectors exist."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor

from manticore.alignment import CalibrationBatch
from manticore.components import Component, load
from manticore.components.spec import ComponentSpec
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.tasks.task import HeadSpec
from tests.helpers.pico import VOCAB, component


def rotated(base: Component, name: str = "donor") -> tuple[Component, Tensor]:
    """A Llama with a rotated stream, to which RMSNorm with unit weights is invariant. Also returns the rotation."""
    torch.manual_seed(5)
    rotation_DD = torch.linalg.qr(torch.randn(base.width, base.width, dtype=torch.float64))[0].float()
    model = deepcopy(base.model)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if any(
                part in key for part in ("embed_tokens", "lm_head", "q_proj", "k_proj", "v_proj", "gate", "up_proj")
            ):
                weight.copy_(weight @ rotation_DD.T)
            elif "o_proj" in key or "down_proj" in key:
                weight.copy_(rotation_DD @ weight)
    return load(ComponentSpec(name=name, model=model)), rotation_DD


def pair(base: Component, donor: Component, **space: object) -> Supernet:
    """A supernet of two models with untrained projectors."""
    options = {"stages": 3, **space}
    return Supernet([base, donor], SearchSpace(["base", "donor"], **options), "base", HeadSpec()).eval()


def llama() -> Component:
    """A pico Llama called base, with weights so large that its layers matter."""
    model = component("llama", "base")
    with torch.no_grad():
        for weight in model.model.parameters():
            if weight.ndim == 2:
                weight.mul_(5)
    return model


def text(seed: int, batches: int = 6, length: int = 16) -> list[CalibrationBatch]:
    """Random ids in batches of 8."""
    torch.manual_seed(seed)
    return [CalibrationBatch(torch.randint(3, VOCAB, (8, length))) for _ in range(batches)]
