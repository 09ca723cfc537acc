"""The loss of a training step: cross-entropy of the labels, or a user's function; with checks of their inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, signature
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from manticore.errors import ManticoreError, shown
from manticore.nas.searchable import MixedOpModel, callable_with
from manticore.tasks.dataset import IGNORE
from manticore.tasks.items import describe_type
from manticore.training.scoring import logits_of

LossFunction = Callable[[Callable[..., Any], Any], Tensor]
"""A user's own loss: from the model, to be called, and a batch to a scalar."""

FIELDS = ("input_ids", "attention_mask", "labels")
"""Fields of a batch; a batch for a user's loss may have others."""


def check_loss_function(loss: Any) -> None:
    """Raises ManticoreError unless `loss` is a function or None."""
    if loss is not None and not callable(loss):
        raise ManticoreError(f"loss= is a function from the model and a batch to a scalar, not {shown(loss)}")


def own_loss(net: nn.Module, batch: Any, function: LossFunction, **options: object) -> Tensor:
    """A user's loss of a batch, a scalar; `options` go to the net. Raises ManticoreError if it is no scalar tensor."""
    with callable_with(net, **options) as model:
        loss = function(model, batch)
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        got = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else shown(loss)
        raise ManticoreError(f"loss= must return a scalar tensor, such as a mean, not {got}")
    return loss


def _check_arguments(model: nn.Module, error: TypeError) -> None:
    """Raises ManticoreError if the error was that a model does not take the ids and the mask of a batch."""
    parameters = signature(model.forward).parameters.values()
    if any(parameter.kind == Parameter.VAR_KEYWORD for parameter in parameters):
        return
    missing = [name for name in FIELDS[:2] if name not in {parameter.name for parameter in parameters}]
    if missing:
        raise ManticoreError(
            f"without loss= the model is called with {' and '.join(FIELDS[:2])}, and {type(model).__name__}.forward "
            f"has no {' and no '.join(missing)}; pass loss=, a function from the model and a batch to a scalar"
        ) from error


def cross_entropy(net: nn.Module, batch: Any, **options: object) -> Tensor:
    """Mean cross-entropy in nats over the scored labels of a batch; `options` go to the net.

    Raises ManticoreError if the batch has no ids, mask and labels, or the logits do not have the shape of the labels.
    """
    if not isinstance(batch, Mapping) or not set(FIELDS) <= set(batch):
        got = f"a mapping with {', '.join(map(str, batch))}" if isinstance(batch, Mapping) else describe_type(batch)
        raise ManticoreError(
            f"without loss= a batch is a mapping with {', '.join(FIELDS)}, not {got}; pass loss=, a function from the "
            "model and a batch to a scalar"
        )
    try:
        logits, labels = logits_of(net, dict(batch), **options).float(), batch["labels"]
    except TypeError as error:
        _check_arguments(net.model if isinstance(net, MixedOpModel) else net, error)
        raise
    if logits.shape[:-1] != labels.shape:
        raise ManticoreError(
            f"the model returns logits of shape {tuple(logits.shape)} for labels of shape {tuple(labels.shape)}; all "
            "but the last dimension, the classes, must be equal"
        )
    return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORE)
