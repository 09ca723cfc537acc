"""Projectors with a closed form: fits an affine map of the form of a projector and copies it into the module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from manticore.alignment.ridge import DAMPINGS, Affine, Moments
from manticore.errors import ManticoreError
from manticore.modeling.projectors import Linear, LowRank, LowRankBypass

CLOSED_FORM_KINDS = ("linear", "low-rank")
"""Kinds of projector that have a closed form."""


@dataclass(frozen=True)
class RidgeFit:
    """A fitted map.

    Attributes:
        affine: the map.
        damping: its ridge penalty; see `Moments.solve`.
        r2: coefficient of determination on validation rows: 1 is a perfect fit, 0 that of the mean.
        mean_E: mean of the training targets, (E,), which is also the mean of the map's outputs on the training rows.
    """

    affine: Affine
    damping: float
    r2: float
    mean_E: Tensor

    def scaled(self, gain: float) -> Affine:
        """The map whose outputs are scaled about their mean: `mean + gain * (W x + b - mean)`."""
        weight_ED, bias_E = self.affine.weight_ED, self.affine.bias_E
        return Affine(gain * weight_ED, self.mean_E + gain * (bias_E - self.mean_E))


def check_closed_form(projector: nn.Module, kind: str) -> None:
    """Raises ManticoreError if a projector, registered as `kind`, cannot be fitted in closed form."""
    if isinstance(projector, Linear | LowRank):
        return
    why = "has nothing to fit" if not list(projector.parameters()) else "has no closed form"
    raise ManticoreError(f"projector '{kind}' {why}; align fits linear and low-rank")


def fit_ridge(projector: nn.Module, train: Moments, val: Moments, dampings: Sequence[float] = DAMPINGS) -> RidgeFit:
    """Fit a map in the form of `projector` on `train`, with the damping that has the largest R^2 on `val`.

    A low-rank form truncates the ridge solution to the projector's rank (reduced-rank regression).
    """
    maps = train.solve_each(dampings)
    if isinstance(projector, LowRank | LowRankBypass):
        maps = [train.truncate(affine, projector.down.out_features) for affine in maps]
    fits = [
        RidgeFit(affine, damping, 1 - val.unexplained(affine), train.y_E)
        for affine, damping in zip(maps, dampings, strict=True)
    ]
    return max(fits, key=lambda fit: fit.r2)


@torch.no_grad()
def load_affine(projector: nn.Module, affine: Affine, bypass: nn.Module | None = None) -> None:
    """Copy a map into a projector of the same form, in place.

    With a bypass the map is [Q R] of a donor update and the base's stream, concatenated: its last E columns are the
    bypass's, where E is the width of the stream.
    """
    weight_ED, d_stream = affine.weight_ED, 0 if bypass is None else len(affine.bias_E)
    if bypass is not None:
        _load_matrix(bypass, weight_ED[:, -d_stream:])
    _load_matrix(projector, weight_ED[:, : weight_ED.shape[1] - d_stream])
    last = projector.up if isinstance(projector, LowRank) else projector
    assert isinstance(last, nn.Linear)
    last.bias.copy_(affine.bias_E)


def _load_matrix(linear: nn.Module, weight_ED: Tensor) -> None:
    """Copy a matrix into a linear map, or its two factors into a low-rank one.

    For W = L diag(s) R^T the factors are L diag(s)^(1/2) and diag(s)^(1/2) R^T. They have the same scale, so neither is
    trained faster than the other.
    """
    if isinstance(linear, LowRank | LowRankBypass):
        rank = linear.down.out_features
        left, singular_values, right = torch.linalg.svd(weight_ED, full_matrices=False)
        root = singular_values[:rank].sqrt()
        linear.up.weight.copy_(left[:, :rank] * root)
        linear.down.weight.copy_(root[:, None] * right[:rank])
        return
    assert isinstance(linear, nn.Linear)
    linear.weight.copy_(weight_ED)
