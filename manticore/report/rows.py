"""One row of the comparison: a model or a guess and what it cost. Knows nothing of how it is shown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manticore.errors import BadFile
from manticore.report import units


@dataclass(frozen=True)
class Row:
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
    def of(cls, held: Mapping[str, Any], where: Path | str = "row") -> Row:
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
    def value(self) -> float | None:
        """The accuracy, or the bits per byte, or the loss in nats where there is neither."""
        return next((held for held in (self.accuracy, self.bits_per_byte, self.loss) if held is not None), None)

    @property
    def score(self) -> str:
        """The value with its margin and, where it is none of a hundred, its unit."""
        if self.accuracy is not None:
            return units.percent(self.accuracy, self.margin)
        if self.bits_per_byte is not None:
            return units.bits(self.bits_per_byte, self.margin)
        return units.percent(None) if self.loss is None else f"{self.loss:.3f} nats"

    @property
    def goodness(self) -> float:
        """More is better: accuracy, or the value with its sign turned."""
        if self.value is None:
            return float("-inf")
        return self.value if self.accuracy is not None else -self.value

    @property
    def costs(self) -> tuple[str, str, str]:
        """Parameters, FLOPs per token and training tokens."""
        return units.count(self.parameters), units.count(self.flops_per_token), units.count(self.training_tokens)


def measure(rows: Sequence[Row]) -> str:
    """Heading of the score column."""
    if not rows or any(row.accuracy is not None for row in rows):
        return "accuracy"
    return "bits per byte" if any(row.bits_per_byte is not None for row in rows) else "loss"
