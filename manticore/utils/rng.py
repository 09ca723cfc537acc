"""Random numbers of a device: its generators, and the random state of a training, which a checkpoint keeps.

A search draws paths and random mixing weights from generators of its own, which start where the device's are when the
training starts. All else, such as dropout, draws from those of the device. So the paths do not depend on the number of
draws that a forward pass makes, and are the same in all processes that train together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from typing import Any

import torch

Generators = Mapping[str, torch.Generator]
"""Generators by type of device, `cpu` and `cuda`."""

_drawing: ContextVar[Generators | None] = ContextVar("drawing", default=None)


def random_source(device: torch.device) -> torch.Generator:
    """The generator for paths and mixing weights: that of the training step, or outside of one the device's default.

    The states of both are part of every saved training state, so a run can be resumed.
    """
    generators = _drawing.get()
    if generators is not None and device.type in generators:
        return generators[device.type]
    return _default(device)


@contextmanager
def drawing(generators: Generators) -> Iterator[None]:
    """Let `random_source` return these generators while the context is open."""
    token = _drawing.set(generators)
    try:
        yield
    finally:
        _drawing.reset(token)


@contextmanager
def default_source(generator: torch.Generator) -> Iterator[None]:
    """Let functions that draw from the default generator of a device draw from `generator`, in place of an argument."""
    default = _default(generator.device)
    if default is generator:
        yield
        return
    before = default.get_state()
    default.set_state(generator.get_state())
    try:
        yield
    finally:
        generator.set_state(default.get_state())
        default.set_state(before)


def new_generators(device: torch.device) -> dict[str, torch.Generator]:
    """Generators for the CPU and for a GPU that are in the states of the defaults."""
    kinds = {"cpu": torch.device("cpu"), device.type: device}
    return {kind: torch.Generator(each).set_state(_default(each).get_state()) for kind, each in kinds.items()}


def generator_states(generators: Generators) -> dict[str, torch.Tensor]:
    """The states of generators, on the CPU."""
    return {kind: generator.get_state() for kind, generator in generators.items()}


def set_generator_states(generators: Generators, states: Mapping[str, torch.Tensor]) -> None:
    """Set the states of those generators of which there is a state."""
    for kind, generator in generators.items():
        if kind in states:
            generator.set_state(states[kind].cpu())


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


def seed_rank(rank: int) -> None:
    """Seed torch in a process of a training, by its present state and the rank; the first process stays as it is."""
    if rank:
        digest = blake2b(torch.get_rng_state().numpy().tobytes() + bytes([rank % 256, rank // 256]), digest_size=4)
        torch.manual_seed(int.from_bytes(digest.digest(), "little"))


def _default(device: torch.device) -> torch.Generator:
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index or 0]
    return torch.default_generator
