"""Context managers that change the mode or the gradients of a module and restore them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn


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
