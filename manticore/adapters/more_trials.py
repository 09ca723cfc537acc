"""The search of MoRe's paper for the size of its factors: trials of whole models, halved, under a parameter budget.

The trials are fine-tunings, run by `manticore finetune`; this file has their options.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from manticore.adapters.base import adapters
from manticore.adapters.more import check_sizes
from manticore.adapters.options import TRIALS
from manticore.utils.fields import Checked, PositiveInt


@dataclass(frozen=True)
class TrialOptions(Checked):
    """Options of trials of sizes of MoRe."""

    configurations: tuple[tuple[PositiveInt, ...], ...] = (
        (4, 1),
        (4, 2),
        (4, 4),
        (4, 8),
        (2, 4),
        (8, 4),
        (8, 8),
        (1, 4),
    )
    """Pairs of blocks N and rank r, of which all layers get one."""

    max_parameters: PositiveInt | None = None
    """Largest number of parameters of the adapters together; sizes above it are not tried. Default: no limit."""

    steps: PositiveInt | None = None
    """Training steps of all trials together. Default: as many as the fine-tuning has."""

    baselines: bool = True
    """Also fine-tune with the fixed size 4 x 4, and with LoRA of as many parameters and of as large a rank."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sizes(self.configurations)


class MoReTrials:
    """The entry of trials in the table of adapters."""

    Options: ClassVar[type] = TrialOptions
    needs_inputs: ClassVar[bool] = True


_entry: Any = MoReTrials
adapters.register(TRIALS)(_entry)
