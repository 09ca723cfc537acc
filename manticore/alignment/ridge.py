"""Ridge regression on streamed rows: only means and second moments are stored.

Notation: N rows, D input features, E output features; C_xx and C_yx are the centred second moments `xx_DD` and `yx_ED`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

DAMPINGS = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Ridge penalties to choose from, in units of the mean variance of an input feature."""


@dataclass(frozen=True)
class Affine:
    """`W x + b` in fp64: weight (E, D), bias (E,)."""

    weight_ED: Tensor
    bias_E: Tensor


class Moments:
    """Means and centred second moments of rows (x, y), in fp64 on the CPU: (D + E) D numbers for any number of rows.

    Batches are merged by the update of Chan, Golub and LeVeque (1983), which stays accurate for means far from zero.
    """

    def __init__(self, d_in: int, d_out: int) -> None:
        self.count = 0
        self.x_D = torch.zeros(d_in, dtype=torch.float64)
        self.y_E = torch.zeros(d_out, dtype=torch.float64)
        self.xx_DD = torch.zeros(d_in, d_in, dtype=torch.float64)
        self.yx_ED = torch.zeros(d_out, d_in, dtype=torch.float64)
        self.yy = torch.zeros((), dtype=torch.float64)

    def add(self, x_ND: Tensor, y_NE: Tensor) -> None:
        """Add N rows, of any float type and on any device."""
        if not len(x_ND):
            return
        x_ND, y_NE = x_ND.detach().double(), y_NE.detach().double()
        mean_x, mean_y = x_ND.mean(0), y_NE.mean(0)
        x_ND, y_NE = x_ND - mean_x, y_NE - mean_y
        shift_x, shift_y = mean_x.cpu() - self.x_D, mean_y.cpu() - self.y_E
        total = self.count + len(x_ND)
        # C = C_old + C_batch + n_old n_batch / n_total * shift shift^T
        scale = self.count * len(x_ND) / total
        self.xx_DD += (x_ND.T @ x_ND).cpu() + scale * torch.outer(shift_x, shift_x)
        self.yx_ED += (y_NE.T @ x_ND).cpu() + scale * torch.outer(shift_y, shift_x)
        self.yy += y_NE.square().sum().cpu() + scale * shift_y.square().sum()
        self.x_D += shift_x * (len(x_ND) / total)
        self.y_E += shift_y * (len(x_ND) / total)
        self.count = total

    def solve(self, damping: float) -> Affine:
        """Solve `min_W,b sum |y - W x - b|^2 + lambda |W|^2`: W = C_yx (C_xx + lambda I)^-1, b = mean(y) - W mean(x).

        Args:
            damping: lambda in units of the mean variance of an input feature. At 0 the solution is the least-squares
                map with the smallest weights.
        """
        return self.solve_each([damping])[0]

    def solve_each(self, dampings: Sequence[float]) -> list[Affine]:
        """`solve` for several dampings, with one eigendecomposition."""
        # With C_xx = V diag(v) V^T:  W = C_yx V diag(1 / (v + lambda)) V^T. Directions in which x does not vary, up to
        # rounding, get weight zero.
        variance_D, axes_DD = torch.linalg.eigh(self.xx_DD)
        rotated_ED = self.yx_ED @ axes_DD
        threshold = variance_D.clamp(min=0).max() * len(variance_D) * torch.finfo(torch.float64).eps
        mean_variance = variance_D.clamp(min=0).mean()
        maps = []
        for damping in dampings:
            inverse_D = torch.where(variance_D > threshold, 1 / (variance_D + damping * mean_variance), 0.0)
            weight_ED = (rotated_ED * inverse_D) @ axes_DD.T
            maps.append(Affine(weight_ED, self.y_E - weight_ED @ self.x_D))
        return maps

    def unexplained(self, affine: Affine) -> float:
        """Squared error of a map on these rows as a share of the variance of y: 1 - R^2; NaN if y does not vary."""
        within = self.yy - 2 * (affine.weight_ED * self.yx_ED).sum() + self._output_variance(affine)
        offset = self.count * (self.y_E - affine.weight_ED @ self.x_D - affine.bias_E).square().sum()
        return float((within + offset) / self.yy) if self.yy > 0 else float("nan")

    def target_rms(self) -> float:
        """Root mean squared norm of y."""
        return float((self.yy / self.count + self.y_E.square().sum()).sqrt())

    def prediction_rms(self, affine: Affine) -> float:
        """Root mean squared norm of a map's outputs on the x of these rows."""
        offset = (affine.weight_ED @ self.x_D + affine.bias_E).square().sum()
        return float((self._output_variance(affine) / self.count + offset).clamp(min=0).sqrt())

    def truncate(self, affine: Affine, rank: int) -> Affine:
        """The map of rank `rank` whose outputs on these rows are nearest to a fitted map's.

        Reduced-rank regression (Izenman 1975): W_r = U_r U_r^T W with U_r the leading eigenvectors of W C_xx W^T.
        """
        outputs_EE = affine.weight_ED @ self.xx_DD @ affine.weight_ED.T
        leading_ER = torch.linalg.eigh(outputs_EE)[1][:, -rank:]
        weight_ED = leading_ER @ (leading_ER.T @ affine.weight_ED)
        return Affine(weight_ED, self.y_E - weight_ED @ self.x_D)

    def _output_variance(self, affine: Affine) -> Tensor:
        """Trace of W C_xx W^T."""
        return (affine.weight_ED @ self.xx_DD * affine.weight_ED).sum()
