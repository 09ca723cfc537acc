"""One row of the comparison: a model or a guess and what it cost. Knows nothing of how it is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manticore.errors import BadFile
from manticore.training.metrics import ACCURACY, BITS, Metric
from manticore.utils import formatting


@dataclass(frozen=True)
class ModelRow:
    """A line of the comparison.

    Attributes:
        name: as it is printed.
        group: `search`, `component`, `baseline` or `guess`.
        accuracy: share of test examples that are right; None for a language model.
        bits_per_byte: what a language model takes to tell a byte of the test text; else None.
        margin: half the 95% interval of the accuracy, or of the bits per byte.
        loss: mean cross-entropy in nats.
        parameters, flops_per_token, training_tokens: what it costs; None where it has none.
    """

    name: str
    group: str
    accuracy: float | None = None
    bits_per_byte: float | None = None
    margin: float | None = None
    loss: float | None = None
    parameters: float | None = None
    flops_per_token: float | None = None
    training_tokens: float | None = None

    @classmethod
    def of(cls, held: Mapping[str, Any], where: Path | str = "row") -> ModelRow:
        """From a row of metrics.json. Raises BadFile if it has no name or holds text where a number belongs."""
        if not isinstance(held, Mapping) or "name" not in held:
            raise BadFile(where, "a row of the comparison without a name")
        names = ("accuracy", "bits_per_byte", "margin", "loss", "parameters", "flops_per_token", "training_tokens")
        try:
            numbers = {name: float(held[name]) for name in names if held.get(name) is not None}
        except (TypeError, ValueError):
            raise BadFile(where, f"row '{held['name']}' holds something that is not a number") from None
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        return cls(str(held["name"]), str(held.get("group", "baseline")), **finite)

    @property
    def metric(self) -> Metric:
        """What it is measured by: bits per byte, or accuracy."""
        return ACCURACY if self.bits_per_byte is None else BITS

    @property
    def value(self) -> float | None:
        """What it reached, by its metric."""
        held: float | None = getattr(self, self.metric.name)
        return held

    @property
    def score(self) -> str:
        """The value with its margin; a dash if it is not known."""
        return formatting.DASH if self.value is None else self.metric.format(self.value, self.margin, unit=False)

    @property
    def sort_key(self) -> float:
        """More is better."""
        return float("-inf") if self.value is None else self.metric.sort_key(self.value)

    @property
    def costs(self) -> tuple[str, str, str]:
        """Parameters, FLOPs per token and training tokens."""
        return (
            formatting.count(self.parameters),
            formatting.count(self.flops_per_token),
            formatting.count(self.training_tokens),
        )


def measure(rows: Sequence[ModelRow]) -> str:
    """Heading of the score column."""
    used = {row.metric for row in rows}
    return (BITS if BITS in used else ACCURACY).label
