"""Fine-tunings on a mix of domains with one of them left out, `leave_one_out.json`: how domains help each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from manticore.results.codec import ResultFile
from manticore.training.metrics import Metric


@dataclass(frozen=True)
class LeaveOneOut(ResultFile):
    """Scores of each domain of the validation split, after trainings of equal length on all domains and on all but one.

    Attributes:
        task, metric: name of the task, and its metric.
        steps: of each training.
        before: score of each domain before the training.
        mix: score of each domain after the training on all domains.
        without: by the domain that was left out, the score of each domain.
    """

    FILE: ClassVar[str] = "leave_one_out.json"
    FORMAT: ClassVar[int] = 1

    task: str
    metric: Metric
    steps: int
    before: Mapping[str, float]
    mix: Mapping[str, float]
    without: Mapping[str, Mapping[str, float]]

    def effect(self, source: str, target: str) -> float:
        """How much better the score of `target` is with `source` in the mix than without; negative: worse.

        In the unit of the metric, positive where the mix is better.
        """
        return self.metric.sort_key(self.mix[target]) - self.metric.sort_key(self.without[source][target])
