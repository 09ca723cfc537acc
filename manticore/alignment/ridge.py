"""Ridge least squares from streamed data: only second moments are held. Knows nothing of models.

Notation: N rows, D features in, E features out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

GRID = (0.0, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Dampings that are tried, in units of the mean variance of an input feature."""


@dataclass(frozen=True)
class Affine:
    """`W x + b` in fp64: weight (E, D), bias (E,)."""

    weight_ED: Tensor
    bias_E: Tensor


class Moments:
    """Means and centred second moments of rows (x, y), in fp64 on the CPU: (D + E) D numbers, however many rows.

    Batches are merged as in Chan, Golub and LeVeque (1983), so that means far from zero cost no digits.
    """

    def __init__(self, d_in: int, d_out: int) -> None:
        self.count = 0
        self.x_D = torch.zeros(d_in, dtype=torch.float64)
        self.y_E = torch.zeros(d_out, dtype=torch.float64)
        self.xx_DD = torch.zeros(d_in, d_in, dtype=torch.float64)
        self.yx_ED = torch.zeros(d_out, d_in, dtype=torch.float64)
        self.yy = torch.zeros((), dtype=torch.float64)

    def add(self, x_ND: Tensor, y_NE: Tensor) -> None:
        """Take in N more rows, of any float type and on any device."""
        if not len(x_ND):
            return
        x_ND, y_NE = x_ND.detach().double(), y_NE.detach().double()
        mean_x, mean_y = x_ND.mean(0), y_NE.mean(0)
        x_ND, y_NE = x_ND - mean_x, y_NE - mean_y
        moved_x, moved_y = mean_x.cpu() - self.x_D, mean_y.cpu() - self.y_E
        total = self.count + len(x_ND)
        pull = self.count * len(x_ND) / total
        self.xx_DD += (x_ND.T @ x_ND).cpu() + pull * torch.outer(moved_x, moved_x)
        self.yx_ED += (y_NE.T @ x_ND).cpu() + pull * torch.outer(moved_y, moved_x)
        self.yy += y_NE.square().sum().cpu() + pull * moved_y.square().sum()
        self.x_D += moved_x * (len(x_ND) / total)
        self.y_E += moved_y * (len(x_ND) / total)
        self.count = total

    def solve(self, damping: float) -> Affine:
        """The affine map with the least squared error plus penalty; the intercept is not penalized.

        Args:
            damping: penalty on the squared weights, in units of the mean variance of an input feature; at 0 it is
                the least-squares map with the smallest weights.
        """
        return self.solve_each([damping])[0]

    def solve_each(self, dampings: Sequence[float]) -> list[Affine]:
        """`solve` for several dampings, at the price of one eigendecomposition."""
        variance_D, axes_DD = torch.linalg.eigh(self.xx_DD)
        turned_ED = self.yx_ED @ axes_DD
        floor = variance_D.clamp(min=0).max() * len(variance_D) * torch.finfo(torch.float64).eps
        unit = variance_D.clamp(min=0).mean()
        out = []
        for damping in dampings:
            gain_D = torch.where(variance_D > floor, 1 / (variance_D + damping * unit), 0.0)
            weight_ED = (turned_ED * gain_D) @ axes_DD.T
            out.append(Affine(weight_ED, self.y_E - weight_ED @ self.x_D))
        return out

    def unexplained(self, fit: Affine) -> float:
        """Squared error of a map on these rows as a share of the variance of y; 1 - R^2. NaN if y does not vary."""
        within = self.yy - 2 * (fit.weight_ED * self.yx_ED).sum() + self._spread(fit)
        offset = self.count * (self.y_E - fit.weight_ED @ self.x_D - fit.bias_E).square().sum()
        return float((within + offset) / self.yy) if self.yy > 0 else float("nan")

    def size_in(self) -> float:
        """Root mean squared length of y."""
        return float((self.yy / self.count + self.y_E.square().sum()).sqrt())

    def size_out(self, fit: Affine) -> float:
        """Root mean squared length of what a map makes of these rows' x."""
        offset = (fit.weight_ED @ self.x_D + fit.bias_E).square().sum()
        return float((self._spread(fit) / self.count + offset).clamp(min=0).sqrt())

    def truncate(self, fit: Affine, rank: int) -> Affine:
        """Reduced-rank regression (Izenman 1975): the map of a rank that is nearest to a fitted one on these rows."""
        spread_EE = fit.weight_ED @ self.xx_DD @ fit.weight_ED.T
        kept_ER = torch.linalg.eigh(spread_EE)[1][:, -rank:]
        weight_ED = kept_ER @ (kept_ER.T @ fit.weight_ED)
        return Affine(weight_ED, self.y_E - weight_ED @ self.x_D)

    def _spread(self, fit: Affine) -> Tensor:
        return (fit.weight_ED @ self.xx_DD * fit.weight_ED).sum()
