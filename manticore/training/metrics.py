"""What a result is measured by: which end is the better one, its unit, and how it is written. Knows no results."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from manticore.errors import UnknownName
from manticore.utils.formatting import bits, more_bits, nats, percent, points


@dataclass(frozen=True)
class Metric:
    """One way to measure.

    Attributes:
        name: what files, and the fields of a `Score`, call it.
        words: the heading of a column.
        unit: of a difference.
        best, worst: its ends. A model that does worse than the worst is counted with that (see `of`).
        written: a value with its margin.
        change: a signed difference with its margin, without the unit.
        reached: what paths are ranked by, in words.
        scale, mark: what an axis multiplies values with, and puts behind them.
    """

    name: str
    words: str
    unit: str
    best: float
    worst: float
    written: Callable[[float, float | None], str]
    change: Callable[[float, float | None], str]
    reached: str = ""
    scale: float = 1.0
    mark: str = ""

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the greatest value."""
        return min(self.best, self.worst), max(self.best, self.worst)

    @property
    def more_is_better(self) -> bool:
        """Whether a greater value is a better one."""
        return self.best > self.worst

    @property
    def of_text(self) -> bool:
        """Whether it is for text, which each component reads with a tokenizer of its own."""
        return self is BITS

    @property
    def better(self) -> str:
        """Where better values are, seen from worse ones."""
        return "above" if self.more_is_better else "below"

    @property
    def worse(self) -> str:
        """Where worse values are, seen from better ones."""
        return "below" if self.more_is_better else "above"

    def of(self, score: Mapping[str, float]) -> float:
        """The value in a `Score` as plain data, no worse than the worst: a byte that is not told takes 8 bits."""
        return max(score[self.name], self.worst) if self.more_is_better else min(score[self.name], self.worst)

    def goodness(self, value: float) -> float:
        """More is better: the value, or the value with its sign turned."""
        return value if self.more_is_better else -value

    def best_of(self, values: Iterable[float]) -> float:
        """The best value, no number if there is none."""
        return max(values, key=self.goodness, default=math.nan)

    def told(self, value: float, margin: float | None = None) -> str:
        """In a sentence: `63.0 ± 1.5 %`, `1.912 ± 0.008 bits per byte`."""
        text = self.written(value, margin)
        return text if self.mark else f"{text} {self.unit}"

    def told_change(self, change: float, margin: float | None = None) -> str:
        """In a sentence: `+4.2 ± 1.9 points`, `−0.050 bits per byte`."""
        return f"{self.change(change, margin)} {self.unit}"

    def told_regret(self, regret: float, margin: float | None = None) -> str:
        """How much worse than the best: `1.2 ± 0.4 points below`, `0.012 bits per byte above`."""
        return f"{self.told_change(regret, margin).lstrip('+')} {self.worse}"


ACCURACY = Metric(
    name="accuracy",
    words="accuracy",
    unit="points",
    best=1.0,
    worst=0.0,
    written=percent,
    change=points,
    reached="what the paths reach",
    scale=100.0,
    mark=" %",
)
BITS = Metric(
    name="bits_per_byte",
    words="bits per byte",
    unit="bits per byte",
    best=0.0,
    worst=8.0,
    written=bits,
    change=more_bits,
    reached="how few bits per byte the paths need",
)
LOSS = Metric(
    name="loss",
    words="loss",
    unit="nats",
    best=0.0,
    worst=math.inf,
    written=nats,
    change=more_bits,
    mark=" nats",
)

OF_TASKS = {metric.name: metric for metric in (ACCURACY, BITS)}
"""What tasks are measured by; a loss is for models that have neither."""

WORST = {metric.name: metric.worst for metric in OF_TASKS.values()}
"""The worst score there is, whatever it is measured by."""


def metric_named(name: str) -> Metric:
    """What a task is measured by. Raises UnknownName."""
    if name not in OF_TASKS:
        raise UnknownName("metric", name, OF_TASKS)
    return OF_TASKS[name]
