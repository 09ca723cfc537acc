"""The state of a module: its mode and its gradients, changed and restored, and whether a saved state is of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from manticore.errors import ManticoreError


@contextmanager
def eval_mode(net: nn.Module) -> Iterator[None]:
    """Put `net` into evaluation mode while the context is open; afterwards its mode is restored."""
    was_training = net.training
    net.eval()
    try:
        yield
    finally:
        net.train(was_training)


@contextmanager
def trainable_only(net: nn.Module, parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Let only these parameters of `net` require gradients while the context is open; then restore all flags."""
    trainable = {id(parameter) for parameter in parameters}
    required = [(parameter, parameter.requires_grad) for parameter in net.parameters()]
    for parameter, _ in required:
        parameter.requires_grad_(id(parameter) in trainable)
    try:
        yield
    finally:
        for parameter, requires_grad in required:
            parameter.requires_grad_(requires_grad)


def check_same_model(saved: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raises ManticoreError unless a saved state has the tensors of the model's own state, by name and shape."""
    for key in (*own, *saved):
        if key not in saved or key not in own:
            who = "it has no" if key not in saved else "this one has no"
            raise ManticoreError(f"the checkpoint is of another model: {who} {key}")
        shapes = [tuple(getattr(state[key], "shape", ())) for state in (saved, own)]
        if shapes[0] != shapes[1]:
            raise ManticoreError(
                f"the checkpoint is of another model: {key} has the shape {shapes[0]}, not {shapes[1]}"
            )
