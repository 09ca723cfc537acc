"""Which kinds of projector have a closed form, and how a fitted map is written into them. Knows no data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from manticore.alignment.ridge import GRID, Affine, Moments
from manticore.errors import ManticoreError
from manticore.modeling.projectors import Linear, LowRank, LowRankBypass


@dataclass(frozen=True)
class RidgeFit:
    """A map, the damping it was fitted with, and what it explains of held-out rows (R^2: 1 is all, 0 as the mean).

    `centre_E` is the mean of what it was fitted to, and so of what it makes of those rows.
    """

    affine: Affine
    damping: float
    explained: float
    centre_E: Tensor

    def stretched(self, by: float) -> Affine:
        """The map whose results are `by` times as far from their centre."""
        weight_ED, bias_E = self.affine.weight_ED, self.affine.bias_E
        return Affine(by * weight_ED, self.centre_E + by * (bias_E - self.centre_E))


def check_form(projector: nn.Module, kind: str) -> None:
    """Raises ManticoreError if this kind of projector cannot be fitted in closed form."""
    if isinstance(projector, Linear | LowRank):
        return
    why = "has nothing to fit" if not list(projector.parameters()) else "has no closed form"
    raise ManticoreError(f"projector '{kind}' {why}; align fits linear and low-rank")


def fit_ridge(projector: nn.Module, seen: Moments, held: Moments, grid: Sequence[float] = GRID) -> RidgeFit:
    """The map of the projector's form, fitted on `seen`, with the damping that leaves least of `held` unexplained."""
    fits = seen.solve_each(grid)
    if isinstance(projector, LowRank | LowRankBypass):
        fits = [seen.truncate(fit, projector.down.out_features) for fit in fits]
    choices = [
        RidgeFit(fit, damping, 1 - held.unexplained(fit), seen.y_E) for fit, damping in zip(fits, grid, strict=True)
    ]
    return max(choices, key=lambda choice: choice.explained)


@torch.no_grad()
def load_affine(projector: nn.Module, affine: Affine, bypass: nn.Module | None = None) -> None:
    """Put a map that `choose` returned into a projector of the same form.

    With a bypass the map reads both: its first columns are the projector's, its last, as many as rows, the bypass's.
    """
    weight_ED, stream = affine.weight_ED, 0 if bypass is None else len(affine.bias_E)
    if bypass is not None:
        _put(bypass, weight_ED[:, -stream:])
    _put(projector, weight_ED[:, : weight_ED.shape[1] - stream])
    last = projector.up if isinstance(projector, LowRank) else projector
    assert isinstance(last, nn.Linear)
    last.bias.copy_(affine.bias_E)


def _put(linear: nn.Module, weight_ED: Tensor) -> None:
    """Write a matrix, or for a low-rank map the two factors of one that has no higher rank."""
    if isinstance(linear, LowRank | LowRankBypass):
        rank = linear.down.out_features
        left, sizes, right = torch.linalg.svd(weight_ED, full_matrices=False)
        root = sizes[:rank].sqrt()  # the two factors share the scale, so that neither learns faster than the other
        linear.up.weight.copy_(left[:, :rank] * root)
        linear.down.weight.copy_(root[:, None] * right[:rank])
        return
    assert isinstance(linear, nn.Linear)
    linear.weight.copy_(weight_ED)
