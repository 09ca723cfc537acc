"""Sparse changes: a few entries of a weight are trained, drawn at random (arXiv 2405.02596) or chosen before."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from manticore.adapters.base import Adapter, adapters
from manticore.utils.fields import Checked, OpenUnitInterval


@dataclass(frozen=True)
class SparseOptions(Checked):
    """Options of sparse changes."""

    share: OpenUnitInterval = 0.05
    """Share of the weights of a layer that are trained."""


def entries(size: int, share: float) -> int:
    """Number of trained entries among `size`: at least 1."""
    return max(1, round(share * size))


@adapters.register("sparse")
class Sparse(Adapter):
    """`D[index] = values`, at entries of W that are drawn at random.

    Attributes:
        index: (c,), positions in W, row by row.
        values: (c,), 0 at first.
    """

    Options = SparseOptions

    def __init__(self, weight: Tensor, options: SparseOptions) -> None:
        super().__init__(weight, options)
        index = torch.randperm(weight.numel())[: entries(weight.numel(), options.share)].sort().values
        self.index: Tensor
        self.register_buffer("index", index.to(weight.device))
        self.values = nn.Parameter(weight.new_zeros(len(index)))

    @classmethod
    def of(cls, delta: Tensor, mask: Tensor) -> Sparse:
        """The change with the values of `delta` (m, n) where `mask` (m, n) is True, and 0 elsewhere."""
        change = cls(delta, SparseOptions())
        change.index = mask.flatten().nonzero().flatten()
        change.values = nn.Parameter(delta.detach().flatten()[change.index].clone())
        return change

    def delta(self) -> Tensor:
        empty = torch.zeros(self.rows * self.columns, dtype=self.values.dtype, device=self.values.device)
        return empty.index_copy(0, self.index, self.values).reshape(self.rows, self.columns)
