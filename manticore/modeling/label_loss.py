"""The loss of labelled tasks by problem type, as in transformers' classes for classification."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor
from transformers import PretrainedConfig

REGRESSION, SINGLE, MULTIPLE = "regression", "single_label_classification", "multi_label_classification"


def problem_type(config: PretrainedConfig, labels: Tensor, per_token: bool = False) -> str:
    """The problem type of a configuration, or the one that labels imply where it names none.

    As in transformers, one label is a regression, integer labels are classes, and others are several labels at once.
    Tokens always have one class each. Raises ValueError for another problem type of tokens.
    """
    named = config.problem_type
    if per_token:
        if named not in (None, SINGLE):
            raise ValueError(f"a head with a label for each token has one class for each: problem_type='{named}'")
        return SINGLE
    if named is not None:
        return str(named)
    if config.num_labels == 1:
        return REGRESSION
    return MULTIPLE if labels.is_floating_point() else SINGLE


def label_loss(config: PretrainedConfig, logits: Tensor, labels: Tensor, per_token: bool = False) -> Tensor:
    """The mean loss, in single precision.

    Regression: squared error of `num_labels` values. One class: cross-entropy in nats over all labels other than -100.
    Several labels: binary cross-entropy in nats over all labels of all sequences.

    Args:
        config: `problem_type` and `num_labels`.
        logits: (..., num_labels).
        labels: (...) of classes; (..., num_labels) of values or of several labels.
        per_token: whether each token has a label.

    Raises ValueError for labels of another shape, for classes that are no integers, and as `problem_type` does.
    """
    kind = problem_type(config, labels, per_token)
    labels = labels.to(logits.device)
    if kind == SINGLE:
        if labels.numel() * config.num_labels != logits.numel() or labels.is_floating_point():
            raise ValueError(_message(kind, tuple(logits.shape[:-1]), labels, "integers"))
        return F.cross_entropy(logits.float().flatten(0, -2), labels.flatten())
    if labels.numel() != logits.numel():
        raise ValueError(_message(kind, tuple(logits.shape), labels, "numbers"))
    targets = labels.to(logits).float().view_as(logits)
    loss = F.mse_loss if kind == REGRESSION else F.binary_cross_entropy_with_logits
    return loss(logits.float(), targets)


def _message(kind: str, shape: tuple[int, ...], labels: Tensor, numbers: str) -> str:
    return f"labels of problem_type='{kind}' are {numbers} of shape {shape}, not {labels.dtype} {tuple(labels.shape)}"
