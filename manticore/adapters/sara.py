"""SaRA (arXiv 2409.06633): the weights of smallest absolute value are trained, with a penalty on the rank of D."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from manticore.adapters.base import Adapter, adapters
from manticore.utils.fields import Checked, ClosedUnitInterval, NonNegativeFloat, OpenUnitInterval


@dataclass(frozen=True)
class SaRAOptions(Checked):
    """Options of SaRA."""

    share: OpenUnitInterval = 0.05
    """Share of the weights of a layer that are trained, those of smallest absolute value."""

    nuclear_weight: NonNegativeFloat = 1e-4
    """Coefficient of the nuclear norm of D (the sum of its singular values) in the loss, in nats."""

    refresh_at: ClosedUnitInterval = 0.5
    """Share of the steps after which weights that have become larger than the threshold are kept as they are, and only
    those still below it are trained further."""


@adapters.register("sara")
class SaRA(Adapter):
    """`D[index] = values`, at the entries of W whose absolute value is below a threshold.

    Attributes:
        index: (c,), positions in W, row by row.
        values: (c,), 0 at first.
        active: (c,), whether an entry is still trained.
        kept: (c,), values of the entries that are not trained any more.
    """

    Options = SaRAOptions

    def __init__(self, weight: Tensor, options: SaRAOptions) -> None:
        super().__init__(weight, options)
        size = weight.detach().abs().flatten()
        count = max(1, round(options.share * size.numel()))
        smallest = size.topk(count, largest=False)
        self.threshold = 0.0 if size.is_meta else float(smallest.values.max())
        self.refreshed: Tensor
        self.index: Tensor
        self.base: Tensor
        self.active: Tensor
        self.kept: Tensor
        self.register_buffer("index", smallest.indices)
        self.register_buffer("base", weight.detach().flatten()[smallest.indices].clone())
        self.register_buffer("kept", weight.new_zeros(count))
        self.register_buffer("active", torch.ones(count, dtype=torch.bool, device=weight.device))
        self.register_buffer("refreshed", torch.tensor(False, device=weight.device))
        self.values = nn.Parameter(weight.new_zeros(count))

    def delta(self) -> Tensor:
        values = torch.where(self.active, self.values, self.kept)
        empty = torch.zeros(self.rows * self.columns, dtype=values.dtype, device=values.device)
        return empty.index_copy(0, self.index, values).reshape(self.rows, self.columns)

    def penalty(self) -> Tensor | None:
        if not self.options.nuclear_weight:
            return None
        norm: Tensor = torch.linalg.matrix_norm(self.delta().float(), ord="nuc")
        weight: float = self.options.nuclear_weight
        return weight * norm

    @property
    def learns(self) -> bool:
        return bool(self.active.any())

    @torch.no_grad()
    def refresh(self, progress: float) -> bool:
        if progress >= self.options.refresh_at and not bool(self.refreshed):
            self.kept.copy_(self.values)
            self.active.copy_((self.base + self.values).abs() <= self.threshold)
            self.refreshed.fill_(True)
        return False
