"""NeuroAda (arXiv 2510.18940): every output neuron gets trained changes of its k largest weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from manticore.adapters.base import Adapter, adapters
from manticore.errors import ManticoreError
from manticore.utils.fields import Checked, PositiveInt


@dataclass(frozen=True)
class NeuroAdaOptions(Checked):
    """Options of NeuroAda."""

    k: PositiveInt = 1
    """Number of trained weights in each row."""


@adapters.register("neuroada")
class NeuroAda(Adapter):
    """`D[i, index[i, j]] = values[i, j]`, the k entries of row i of W with the largest absolute value.

    Attributes:
        index: (m, k), columns.
        values: (m, k), 0 at first.
    """

    Options = NeuroAdaOptions

    def __init__(self, weight: Tensor, options: NeuroAdaOptions) -> None:
        super().__init__(weight, options)
        self.index: Tensor
        self.register_buffer("index", weight.detach().abs().topk(options.k, dim=1).indices)
        self.values = nn.Parameter(weight.new_zeros(self.rows, options.k))

    @classmethod
    def check(cls, rows: int, columns: int, options: NeuroAdaOptions) -> None:
        if options.k > columns:
            raise ManticoreError(f"adapter.options.k {options.k} is above {columns}, the inputs of a layer")

    def delta(self) -> Tensor:
        empty = torch.zeros(self.rows, self.columns, dtype=self.values.dtype, device=self.values.device)
        return empty.scatter(1, self.index, self.values)
