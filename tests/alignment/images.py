"""Pairs of models of which one is the other in other coordinates, so that a perfect translator exists."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor

from manticore.alignment import Reading
from manticore.components import Component, load
from manticore.space import ComponentSpec, SearchSpace
from manticore.supernet import Readout, Supernet
from tests.pico import VOCAB, component


def rotated(home: Component, name: str = "foreign") -> tuple[Component, Tensor]:
    """A Llama whose stream is home's, turned: RMSNorm with unit weights does not mind. Returns the rotation (D, D)."""
    torch.manual_seed(5)
    turn_DD = torch.linalg.qr(torch.randn(home.width, home.width, dtype=torch.float64))[0].float()
    model = deepcopy(home.model)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if any(
                part in key for part in ("embed_tokens", "lm_head", "q_proj", "k_proj", "v_proj", "gate", "up_proj")
            ):
                weight.copy_(weight @ turn_DD.T)
            elif "o_proj" in key or "down_proj" in key:
                weight.copy_(turn_DD @ weight)
    return load(ComponentSpec(name=name, model=model)), turn_DD


def pair(home: Component, foreign: Component, **space: object) -> Supernet:
    """A supernet of the two, with projectors as they start."""
    options = {"stages": 3, **space}
    return Supernet([home, foreign], SearchSpace(["home", "foreign"], **options), "home", Readout()).eval()


def llama() -> Component:
    """A pico Llama called home, loud enough that its layers matter."""
    made = component("llama", "home")
    with torch.no_grad():
        for weight in made.model.parameters():
            if weight.ndim == 2:
                weight.mul_(5)
    return made


def text(seed: int, batches: int = 6, length: int = 16) -> list[Reading]:
    """Random ids in batches of 8."""
    torch.manual_seed(seed)
    return [Reading(torch.randint(3, VOCAB, (8, length))) for _ in range(batches)]
