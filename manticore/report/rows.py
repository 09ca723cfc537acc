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
        margin: half the 95% interval of `accuracy`.
        loss: mean cross-entropy in nats.
        parameters, flops_per_token, training_tokens: what it costs; None where it has none.
    """

    name: str
    group: str
    accuracy: float | None = None
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
        names = ("accuracy", "margin", "loss", "parameters", "flops_per_token", "training_tokens")
        try:
            numbers = {name: float(held[name]) for name in names if held.get(name) is not None}
        except (TypeError, ValueError):
            raise BadFile(where, f"row '{held['name']}' holds something that is not a number") from None
        finite = {name: value for name, value in numbers.items() if math.isfinite(value)}
        return cls(str(held["name"]), str(held.get("group", "baseline")), **finite)

    @property
    def score(self) -> str:
        """Accuracy with its margin, or the loss where there is no accuracy."""
        if self.accuracy is None and self.loss is not None:
            return f"{self.loss:.3f} nats"
        return units.percent(self.accuracy, self.margin)

    @property
    def goodness(self) -> float:
        """More is better: accuracy, or the loss with its sign turned."""
        if self.accuracy is not None:
            return self.accuracy
        return -self.loss if self.loss is not None else float("-inf")

    @property
    def costs(self) -> tuple[str, str, str]:
        """Parameters, FLOPs per token and training tokens."""
        return units.count(self.parameters), units.count(self.flops_per_token), units.count(self.training_tokens)


def measure(rows: Sequence[Row]) -> str:
    """Heading of the score column."""
    return "loss" if rows and all(row.accuracy is None for row in rows) else "accuracy"
