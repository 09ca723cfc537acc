"""The results of `manticore finetune` and `manticore pretrain`, `scores.json` in their folders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from manticore.results.codec import ResultFile
from manticore.results.search import SplitScore
from manticore.training.metrics import Metric


@dataclass(frozen=True)
class FinetuneScores(ResultFile):
    """Scores of a hybrid on the validation split, before and after fine-tuning.

    Attributes:
        task, metric: name of the task, and its metric.
        before, after: the scores.
        steps, tokens: length of the training.
    """

    FILE: ClassVar[str] = "scores.json"
    FORMAT: ClassVar[int] = 1

    task: str
    metric: Metric
    before: SplitScore
    after: SplitScore
    steps: int
    tokens: int


@dataclass(frozen=True)
class PretrainScores(ResultFile):
    """Scores of a pretrained model on the text that was left out of its training.

    Attributes:
        bits_per_byte: by file, and of `all` together.
        tokens: training tokens.
    """

    FILE: ClassVar[str] = "scores.json"
    FORMAT: ClassVar[int] = 1

    bits_per_byte: Mapping[str, float]
    tokens: int
