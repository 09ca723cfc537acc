"""LT-SFT, lottery-ticket sparse fine-tuning (arXiv 2110.07560): sparse changes that can be added to each other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from manticore.adapters.base import Adapter, adapters
from manticore.adapters.sparse import Sparse, entries
from manticore.utils.fields import Checked, OpenUnitInterval


@dataclass(frozen=True)
class LTSFTOptions(Checked):
    """Options of LT-SFT."""

    share: OpenUnitInterval = 0.05
    """Share of the weights of a layer that are trained in the end, those that have moved most."""

    select_at: OpenUnitInterval = 0.5
    """Share of the steps in which all weights of the layer are trained."""


@adapters.register("lt-sft")
class LTSFT(Adapter):
    """`D = mask * values`, with the K largest changes of each layer.

    All entries are trained first. Then the K largest changes |D| are selected, D is set back to 0, and the selected
    entries alone are trained again, from the initial weights. The paper ranks the changes of all layers together.

    Attributes:
        values: (m, n), 0 at first.
        mask: (m, n), whether an entry is trained; all are before the selection.
        selected: whether the selection was made.
    """

    Options = LTSFTOptions

    def __init__(self, weight: Tensor, options: LTSFTOptions) -> None:
        super().__init__(weight, options)
        self.values = nn.Parameter(weight.new_zeros(self.rows, self.columns))
        self.mask: Tensor
        self.selected: Tensor
        self.register_buffer("mask", torch.ones(self.rows, self.columns, dtype=torch.bool, device=weight.device))
        self.register_buffer("selected", torch.tensor(False, device=weight.device))

    def delta(self) -> Tensor:
        return self.values * self.mask

    @torch.no_grad()
    def refresh(self, progress: float) -> bool:
        if progress < self.options.select_at or bool(self.selected):
            return False
        largest = self.values.abs().flatten().topk(self.trained).indices
        self.mask.zero_().view(-1)[largest] = True
        self.values.zero_()
        self.selected.fill_(True)
        return True

    @property
    def trained(self) -> int:
        return entries(self.values.numel(), self.options.share)

    def final(self) -> Adapter:
        return Sparse.of(self.delta(), self.mask)
