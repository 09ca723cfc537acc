"""What a model is worth on some examples: loss in nats and accuracy, without touching it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manticore.tasks.base import Examples
from manticore.training.data import Batch, Collate


@dataclass(frozen=True)
class Score:
    """Mean cross-entropy in nats and share of right answers over `count` examples."""

    loss: float
    accuracy: float
    count: int

    @property
    def margin(self) -> float:
        """Half the width of the accuracy's 95 % interval (normal approximation of the binomial)."""
        return 1.96 * math.sqrt(self.accuracy * (1 - self.accuracy) / max(1, self.count))

    def to_dict(self) -> dict[str, float]:
        """Plain data, with the margin."""
        return {**asdict(self), "margin": self.margin}


def logits_of(net: nn.Module, batch: Batch, **options: object) -> Tensor:
    """A supernet's logits, or those in a Hugging Face model's output: (B, labels)."""
    out = net(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], **options)
    logits: Tensor = out if isinstance(out, Tensor) else out.logits
    return logits


@torch.no_grad()
def score(
    net: nn.Module,
    examples: Examples,
    collate: Collate,
    batch_size: int,
    device: torch.device | str = "cpu",
    **options: object,
) -> Score:
    """Loss and accuracy of `net` on all `examples`; further `options` go to its forward pass.

    Sequences are read in order of length, so that little is padded; the result does not depend on the order.
    """
    was_training = net.training
    net.eval().to(device)
    order = np.argsort(examples.lengths, kind="stable")
    loss, right = 0.0, 0
    for start in range(0, len(order), batch_size):
        batch = collate([examples[int(index)] for index in order[start : start + batch_size]])
        batch = {key: value.to(device) for key, value in batch.items()}
        logits = logits_of(net, batch, **options).float()
        loss += float(F.cross_entropy(logits, batch["labels"], reduction="sum"))
        right += int((logits.argmax(-1) == batch["labels"]).sum())
    net.train(was_training)
    return Score(loss / len(examples), right / len(examples), len(examples))
