"""S2FT, structured sparse fine-tuning (arXiv 2412.06289): trained changes of some input channels of a layer.

On the layers that write to the stream (the default), input channels are the channels of a feed-forward layer, of the
heads of attention, or of the inner width of a recurrent layer. The reference implementation permutes the chosen
channels to one end of both layers that share them; selecting them is the same function.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manticore.adapters.base import Adapter, adapters
from manticore.errors import ManticoreError
from manticore.utils.fields import Checked, PositiveFloat, PositiveInt


@dataclass(frozen=True)
class S2FTOptions(Checked):
    """Options of S2FT."""

    share: PositiveFloat = 0.05
    """Share of the input channels that are trained, at least one group."""

    group: PositiveInt = 1
    """Neighbouring channels that are chosen together, such as the features of a head."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.share > 1:
            raise ManticoreError(f"adapter.options.share must be a number above 0 and at most 1, got {self.share}")


@adapters.register("s2ft")
class S2FT(Adapter):
    """`D[:, index] = values` for channels drawn at random (S2FT-R); all other columns of D are 0.

    Attributes:
        index: (c,), the chosen input channels, in order.
        values: (m, c), 0 at first.
    """

    Options = S2FTOptions
    factored = True
    default_targets = ("out_proj", "o_proj", "c_proj", "dense", "dense_4h_to_h", "down_proj")

    def __init__(self, weight: Tensor, options: S2FTOptions) -> None:
        super().__init__(weight, options)
        groups = self.columns // options.group
        drawn = torch.randperm(groups)[: max(1, round(options.share * groups))].sort().values
        index = (drawn[:, None] * options.group + torch.arange(options.group)).flatten()
        self.index: Tensor
        self.register_buffer("index", index.to(weight.device))
        self.values = nn.Parameter(weight.new_zeros(self.rows, len(index)))

    @classmethod
    def check(cls, rows: int, columns: int, options: S2FTOptions) -> None:
        if options.group > columns:
            raise ManticoreError(f"adapter.options.group {options.group} is above {columns}, the inputs of a layer")

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x[..., self.index], self.values)

    def delta(self) -> Tensor:
        empty = torch.zeros(self.rows, self.columns, dtype=self.values.dtype, device=self.values.device)
        return empty.index_copy(1, self.index, self.values)
