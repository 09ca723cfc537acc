"""A loss that repairs a model: the divergence of its predictions from those of a teacher, such as its parent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manticore.errors import ManticoreError
from manticore.tasks.dataset import IGNORE
from manticore.training.scoring import logits_of


class TeacherDivergence:
    """Mean Kullback-Leibler divergence KL(teacher || model), in nats, over the scored positions of a batch.

        trainer.fit(mc.FinetuneModule(hybrid, loss=TeacherDivergence(parent)), data)

    The labels say which positions are scored, and nothing else (Hinton et al., arXiv 1503.02531, at temperature 1). The
    teacher's logits are computed for each batch, without gradients.

    Args:
        teacher: a model that returns logits. It is put into evaluation mode, and on the device of the batches.
    """

    def __init__(self, teacher: nn.Module) -> None:
        self.teacher = teacher.eval()

    def __call__(self, model: Callable[..., Any], batch: Any) -> Tensor:
        """The divergence of a batch. Raises ManticoreError if the two models have different numbers of logits."""
        labels = batch["labels"]
        with torch.no_grad():
            target = logits_of(self.teacher.to(labels.device), batch).float()
        out = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        logits = (out if isinstance(out, Tensor) else out.logits).float()
        if logits.shape != target.shape:
            shapes = f"{tuple(target.shape)}, and those of the model {tuple(logits.shape)}"
            raise ManticoreError(f"the logits of the teacher have the shape {shapes}: they need one vocabulary")
        scored = labels.flatten() != IGNORE
        rows, targets = (F.log_softmax(part.flatten(0, -2), dim=-1) for part in (logits, target))
        divergence = F.kl_div(rows, targets, reduction="none", log_target=True).sum(-1)
        loss: Tensor = (divergence * scored).sum() / scored.sum()
        return loss
