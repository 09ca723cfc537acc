"""The state of a module: its mode and its gradients, changed and restored, and whether a saved state is of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
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
def trainable_only(
    net: nn.Module, parameters: Iterable[nn.Parameter], among: Iterable[nn.Parameter] | None = None
) -> Iterator[None]:
    """Let only these parameters of `net` require gradients while the context is open; then restore all flags.

    `among` are the parameters of `net`, if they are known, which saves a walk through its modules.
    """
    trainable = {id(parameter) for parameter in parameters}
    changed = [p for p in among or net.parameters() if p.requires_grad != (id(p) in trainable)]
    for parameter in changed:
        parameter.requires_grad_(not parameter.requires_grad)
    try:
        yield
    finally:
        for parameter in changed:
            parameter.requires_grad_(id(parameter) not in trainable)


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


def share_weights(modules: Sequence[nn.Module]) -> None:
    """Replace each parameter of a module by that of the same name in an earlier one, if their values are equal."""
    shared: dict[str, nn.Parameter] = {}
    for module in modules:
        for name, parameter in list(module.named_parameters()):
            first = shared.setdefault(name, parameter)
            same_kind = first.shape == parameter.shape and first.device == parameter.device
            if first is not parameter and same_kind and (first.is_meta or torch.equal(first, parameter)):
                owner, _, attribute = name.rpartition(".")
                setattr(module.get_submodule(owner), attribute, first)
