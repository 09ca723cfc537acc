"""Muon (Jordan et al. 2024; scaled as in arXiv 2502.16982): matrices move by orthogonalized momentum. Knows no models.

Everything that is no hidden matrix (embeddings, heads, norms, biases, recurrent constants) moves by AdamW, in the same
optimizer and under the same schedule.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration that drives all singular values towards 1."""

RMS = 0.2
"""Root mean square of an update's entries, which is about AdamW's, so that both take the same learning rates."""


class Muon(Optimizer):
    """Muon over `matrices`, AdamW over `rest`.

    Args:
        matrices: parameter groups of two dimensions, each with its `lr` and `weight_decay`.
        rest: parameter groups of AdamW, each with the same.
        betas: of AdamW.
        momentum: decay of the matrices' running gradient, used with Nesterov's look ahead.
        steps: iterations of the orthogonalization.
    """

    def __init__(
        self,
        matrices: list[dict[str, Any]],
        rest: list[dict[str, Any]],
        betas: tuple[float, float],
        momentum: float = 0.95,
        steps: int = 5,
    ) -> None:
        super().__init__([*({**group, "momentum": momentum, "steps": steps} for group in matrices), *rest], {})
        self._own = len(matrices)
        self._rest = AdamW(self.param_groups[self._own :], betas=betas, fused=True)
        self._share()

    def _share(self) -> None:
        """Let AdamW work on the very same groups and state, so that a schedule moves both."""
        self._rest.param_groups = self.param_groups[self._own :]
        self._rest.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)
        self._share()

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move everything that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups[: self._own]:
            shapes: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes[parameter.shape].append(parameter)
            for alike in shapes.values():
                self._move(alike, group)
        self._rest.step()
        return loss

    def _move(self, alike: list[nn.Parameter], group: dict[str, Any]) -> None:
        """One step of matrices of one shape, orthogonalized together."""
        ahead = []
        for parameter in alike:
            grad = parameter.grad
            assert grad is not None
            held = self.state[parameter].setdefault("momentum", torch.zeros_like(grad))
            held.lerp_(grad, 1 - group["momentum"])
            ahead.append(torch.lerp(grad, held, group["momentum"]))
        rows, columns = alike[0].shape
        rate = group["lr"] * RMS * max(rows, columns) ** 0.5
        for parameter, update in zip(alike, orthogonalized(torch.stack(ahead), group["steps"]), strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=rate)


def orthogonalized(matrices_NRC: Tensor, steps: int) -> Tensor:
    """About the nearest matrices with singular values of 1, by the Newton-Schulz iteration: (N, R, C) -> (N, R, C)."""
    x = matrices_NRC.float()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    out: Tensor = (x.mT if tall else x).to(matrices_NRC.dtype)
    return out
