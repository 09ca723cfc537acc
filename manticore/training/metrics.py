"""Metrics: how a score is computed, its range and unit, and how it is written.

Every score that a command, a table or a page shows is written by `Metric.format`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manticore.utils.formatting import signed
from manticore.utils.registry import Registry

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Metric:
    """A measure of the quality of a model on a split.

    Attributes:
        name: key of the value in a score's plain data, and the name a task selects the metric by.
        label: heading of a table column and of an axis.
        unit: unit of a difference; also that of a value without a `suffix`.
        best, worst: ends of the range. A value beyond `worst`, as of a model that diverged, is clipped to it.
        digits: decimals of a written value.
        scale: factor between a value and the number that is written.
        suffix: follows every written value, such as ` %`.
        compute: the value from the predictions and labels of a split, two arrays of integers with an entry for each
            scored label; None for the metrics that every score has.
    """

    name: str
    label: str
    unit: str
    best: float
    worst: float
    digits: int
    scale: float = 1.0
    suffix: str = ""
    compute: Callable[[Integers, Integers], float] | None = None

    @property
    def range(self) -> tuple[float, float]:
        """The least and the greatest value."""
        return min(self.best, self.worst), max(self.best, self.worst)

    @property
    def higher_is_better(self) -> bool:
        """Whether a greater value is a better one."""
        return self.best > self.worst

    @property
    def for_text(self) -> bool:
        """Whether it is the metric of language models, which read the text with different tokenizers."""
        return self is BITS

    @property
    def better(self) -> str:
        """Side of the better values: `above` or `below`."""
        return "above" if self.higher_is_better else "below"

    @property
    def worse(self) -> str:
        """Side of the worse values: `above` or `below`."""
        return "below" if self.higher_is_better else "above"

    def value_of(self, score: Mapping[str, float]) -> float:
        """The value in a score's plain data, clipped at `worst`."""
        return self.clip(score[self.name])

    def clip(self, value: float) -> float:
        """The value, or `worst` if it is worse: any byte can be coded with 8 bits."""
        return max(value, self.worst) if self.higher_is_better else min(value, self.worst)

    def sort_key(self, value: float) -> float:
        """A number that is larger for a better value: the value itself, or its negative."""
        return value if self.higher_is_better else -value

    def best_of(self, values: Iterable[float]) -> float:
        """The best value; NaN without values."""
        return max(values, key=self.sort_key, default=math.nan)

    def format(self, value: float, margin: float | None = None, unit: bool = True) -> str:
        """A value with half its 95 % interval: `63.0 ± 1.5 %`, `1.912 ± 0.008 bits per byte`.

        Args:
            value: what was measured.
            margin: half the interval; None: there is none, as for a split of one document.
            unit: whether a value without a suffix is followed by its unit; False below a heading that names the unit.
        """
        text = f"{self.scale * value:.{self.digits}f}{self._margin(margin)}{self.suffix}"
        return text if self.suffix or not unit else f"{text} {self.unit}"

    def format_change(self, change: float, margin: float | None = None, unit: bool = True) -> str:
        """A signed difference: `+4.2 ± 1.9 points`, `−0.050 bits per byte`. Arguments are those of `format`."""
        text = f"{signed(self.scale * change, self.digits)}{self._margin(margin)}"
        return f"{text} {self.unit}" if unit else text

    def format_lead(self, lead: float, margin: float | None = None, unit: bool = True) -> str:
        """A lead in words, which is positive where it is better: `better by 4.2 ± 1.9 points`, `worse by 0.050`.

        Arguments are those of `format`. A lead that is zero after rounding is `equal`.
        """
        text = f"{self.scale * abs(lead):.{self.digits}f}"
        by = f"{'better' if lead > 0 else 'worse'} by {text}" if float(text) else "equal"
        return f"{by}{self._margin(margin)}{f' {self.unit}' if unit and (by != 'equal' or margin is not None) else ''}"

    def format_regret(self, regret: float, margin: float | None = None) -> str:
        """How much worse than the best: `1.2 ± 0.4 points below`, `0.012 bits per byte above`."""
        return f"{self.format_change(regret, margin).lstrip('+')} {self.worse}"

    def _margin(self, margin: float | None) -> str:
        return "" if margin is None else f" ± {self.scale * margin:.{self.digits}f}"


metrics: Registry[Metric] = Registry("metric")
"""All metrics by name."""

ACCURACY = Metric(
    name="accuracy",
    label="accuracy",
    unit="points",
    best=1.0,
    worst=0.0,
    digits=1,
    scale=100.0,
    suffix=" %",
)
BITS = Metric(
    name="bits_per_byte",
    label="bits per byte",
    unit="bits per byte",
    best=0.0,
    worst=8.0,
    digits=3,
)
for _metric in (ACCURACY, BITS):
    metrics.register(_metric.name)(_metric)


def worst_scores() -> dict[str, float]:
    """The worst score by every metric, as a score's plain data: that of a model that diverged."""
    return {name: metrics[name].worst for name in metrics}
