"""Random numbers of a device: its generator, and the random state of a training, which a checkpoint keeps."""

from __future__ import annotations

from typing import Any

import torch


def random_source(device: torch.device) -> torch.Generator:
    """The default generator of a device. Its state is part of every saved training state, so a run can be resumed."""
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index or 0]
    return torch.default_generator


def rng_state(device: torch.device) -> dict[str, Any]:
    """Random states of the CPU and, for a GPU, of that GPU alone: other GPUs get no context in this process."""
    cuda = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_rng_state(state: dict[str, Any], device: torch.device) -> None:
    """Set the random states of `rng_state`. A state of the CPU alone leaves a GPU as it is, and vice versa."""
    torch.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda" and state["cuda"]:
        index = (device.index or 0) if len(state["cuda"]) > 1 else 0  # of all GPUs in checkpoints before 0.4
        torch.cuda.set_rng_state(state["cuda"][min(index, len(state["cuda"]) - 1)].cpu(), device)
