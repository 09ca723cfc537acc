"""Values of the device that the host reads later than they are computed.

To read a value from a GPU stops the host until all work before it is done, so training steps read none:

- Losses stay scalars on the device until they are logged.
- Whether a loss or a gradient is finite is decided on the device: from the first step where one is not on, optimizers
  change no parameter. The host reads the numbers of several steps at once, at the next record of the loggers, before a
  checkpoint and at the end, and raises NonFiniteLoss there.
- A path is drawn on the host, because it decides which modules run. The copy of the mixing weights starts at the end of
  a step and is read in the next one, when it has long arrived.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from manticore.errors import NonFiniteLoss
from manticore.training.muon import Muon


def read_numbers(values: Mapping[str, Tensor | float]) -> dict[str, float]:
    """Numbers by name; all scalar tensors are read together, the only stop of the host."""
    tensors = [name for name, value in values.items() if isinstance(value, Tensor)]
    stacked = torch.stack([torch.as_tensor(values[name]).float() for name in tensors]).tolist() if tensors else []
    read = dict(zip(tensors, stacked, strict=True))
    return {name: read[name] if name in read else float(value) for name, value in values.items()}


class FiniteCheck:
    """The losses and gradient norms since the last check, and whether all until now were finite, on the device."""

    def __init__(self) -> None:
        self._pending: list[tuple[int, str, Tensor]] = []
        self._poison: Tensor | None = None

    def reset(self) -> None:
        """Forget all numbers, as at the start of a training."""
        self._pending, self._poison = [], None

    @torch.no_grad()
    def add(self, step: int, loss: Tensor | None, norms: Sequence[Tensor]) -> Tensor:
        """Note the numbers of a step, counted from 1, before its updates.

        Args:
            step: the step.
            loss: its loss; None if it has none of its own.
            norms: norm of the gradient of each update.

        Returns 1.0 if one of these numbers or of those before was not finite, else 0.0: a scalar on the device.
        """
        losses = [] if loss is None else [("loss", loss)]
        numbers = [*losses, *(("gradient", norm) for norm in norms)]
        self._pending += [(step, what, number) for what, number in numbers]
        total = sum((number for _, number in numbers[1:]), numbers[0][1]) * 0  # 0, or NaN if one is not finite
        self._poison = total if self._poison is None else self._poison + total
        return self._poison.isnan().float()

    def check(self) -> None:
        """Read the numbers since the last check. Raises NonFiniteLoss for the first one that is not finite."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        values = torch.stack([number.float() for _, _, number in pending]).tolist()
        for (step, what, _), value in zip(pending, values, strict=True):
            if not math.isfinite(value):
                raise non_finite(what, value, step)


def non_finite(what: str, value: float, step: int) -> NonFiniteLoss:
    """The error for a loss or a gradient that is not finite at a step, counted from 1."""
    return NonFiniteLoss(
        f"the {what} became {value} at step {step}; the last saved state is kept; "
        "try a lower learning rate (--lr, --set search.weights.lr=...) or float32"
    )


@torch.no_grad()
def step_unless(skip: Tensor, optimizer: Optimizer, parameters: Sequence[nn.Parameter]) -> None:
    """A step of an optimizer that changes no parameter if `skip`, a scalar on the device, is 1.0.

    Fused optimizers and Muon have an argument for this, the one that scaled losses use. For others gradients become 0
    and the parameters are restored; such optimizers have few parameters, the alphas.
    """
    inner: Any = getattr(optimizer, "optimizer", optimizer)  # of Lightning's wrapper
    if isinstance(inner, Muon) or (inner.defaults.get("fused") and hasattr(inner, "_step_supports_amp_scaling")):
        inner.found_inf = skip
        try:
            optimizer.step()
        finally:
            del inner.found_inf
        return
    moving = [parameter for parameter in parameters if parameter.grad is not None]
    before, is_skipped = [parameter.detach().clone() for parameter in moving], skip.bool()
    for parameter in moving:
        assert parameter.grad is not None
        parameter.grad.masked_fill_(is_skipped, 0)
    optimizer.step()
    for parameter, value in zip(moving, before, strict=True):
        parameter.copy_(torch.where(is_skipped, value, parameter))


class WeightsAhead:
    """A copy of mixing weights (S, K) in the memory of the host."""

    def __init__(self, weights_SK: Tensor) -> None:
        cuda = weights_SK.is_cuda
        self._host_SK = torch.empty(weights_SK.shape, dtype=weights_SK.dtype, pin_memory=cuda)
        self._host_SK.copy_(weights_SK.detach(), non_blocking=True)
        self._copied = torch.cuda.Event() if cuda else None
        if self._copied is not None:
            self._copied.record()

    def read(self) -> Tensor:
        """The weights on the CPU; waits for the copy alone."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._host_SK
