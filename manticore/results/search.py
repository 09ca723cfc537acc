"""The result of a search, `metrics.json`: its settings, its choices, and the test scores of all models."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from manticore.alignment import StageFit
from manticore.components.licenses import License
from manticore.nas.stage_scores import StageScores
from manticore.results.codec import ResultFile
from manticore.training.metrics import Metric
from manticore.utils.statistics import Interval

HYBRID = "hybrid"
"""Value of `SearchResult.best_model` if no component scored better than the hybrid on the validation split."""

SOFT_ROW, DISCRETE_ROW, HYBRID_ROW = (
    "soft supernet",
    "discretized, before fine-tuning",
    "discretized, after fine-tuning",
)
"""Names of the rows of the search itself."""


@dataclass(frozen=True)
class SplitScore:
    """The score of one model on one split.

    Attributes:
        value: by the task's metric.
        margin: half the 95 % interval of the value; None where there is none, as for a split of one document.
        loss: mean cross-entropy in nats; None for a heuristic, which has no loss.
        count: number of examples.
        macro_batch: accuracy as the MAD benchmark computes it; None where a sequence has one label, and for text.
    """

    value: float
    margin: float | None
    loss: float | None
    count: int
    macro_batch: float | None = None

    @classmethod
    def of(cls, score: Mapping[str, float], metric: Metric) -> SplitScore:
        """The score of `Score.to_dict()` by a metric."""
        loss = score["loss"]
        return cls(
            value=score[metric.name],
            margin=score.get("margin"),
            loss=loss if math.isfinite(loss) else None,
            count=int(score["count"]),
            macro_batch=score.get("macro_batch"),
        )


@dataclass(frozen=True)
class ModelRow:
    """One line of the comparison.

    Attributes:
        name: printed name.
        group: `search`, `component`, `baseline` or `heuristic`.
        score: score on the test split.
        parameters: number of parameters; None for a heuristic, as are the other costs.
        flops_per_token: operations per token of one forward pass.
        train_tokens: number of tokens it was trained on.
        lead: how far the fine-tuned hybrid is ahead, by the task's metric, with its 95 % interval, paired over the
            same examples or documents of the test split; positive where the hybrid is better. None for the hybrid
            itself, and where the two have no scores by example in common.
        path: candidate of each stage, where the model is a path of the search space, such as the random path; else
            None.
    """

    name: str
    group: str
    score: SplitScore
    parameters: int | None = None
    flops_per_token: float | None = None
    train_tokens: int | None = None
    lead: Interval | None = None
    path: tuple[str, ...] | None = None


@dataclass(frozen=True)
class DiscretizationGap:
    """The test score of the search as a mixture, as one path, and after fine-tuning."""

    soft: float
    discrete: float
    finetuned: float


@dataclass(frozen=True)
class ComponentInfo:
    """A component of the search space.

    Attributes:
        source: alias, hub id or folder; ends with `(from scratch)` for random weights.
        revision: revision on the hub; None for other sources.
        parameters, layers, width: its size.
        layer_boundaries: S + 1 layer indices; stage s runs the layers from boundary s up to boundary s + 1.
        license: licence of pretrained weights; None if it is unknown.
    """

    source: str
    revision: str | None
    parameters: int
    layers: int
    width: int
    layer_boundaries: tuple[int, ...]
    license: License | None = None

    @property
    def pretrained(self) -> bool:
        """Whether its weights were loaded, not drawn at random."""
        return not self.source.endswith("(from scratch)")


@dataclass(frozen=True)
class AlignmentInfo:
    """The projectors before the search.

    Attributes:
        tokens: number of base tokens that they were fitted on.
        paired: for each donor with another tokenizer, the share of base tokens that pair with one of the donor's.
        stages: quality of the fit of each donor at each stage; empty for projectors that come from a projector set.
    """

    tokens: int
    paired: Mapping[str, float]
    stages: tuple[StageFit, ...]


@dataclass(frozen=True)
class SearchResult(ResultFile):
    """The result of `manticore search`.

    Attributes:
        version: version of manticore.
        task, metric, kind: name of the task, its metric, kind of its head.
        example: an input as text; None if the task has none that can be shown.
        seed: seed of the run.
        preset, preset_reason: preset of the task, and the reason for it.
        base, base_reason: the component that provides embedding, residual stream, norm and head, and the reason for it.
        path: for each stage the chosen component, or `skip`.
        summary: the path in one line.
        best_model, best_reason: `HYBRID`, or the component that scored better on the validation split; and the scores.
        exported: the model in `hybrid/`: `HYBRID`, or `best_model` with `selection.export=best`.
        gap: scores before and after discretization.
        components: the components by name.
        alignment: the projectors; None if they were neither fitted nor read.
        machine: processor, GPU and versions of libraries.
        seconds: duration of each phase.
        rows: the comparison, scored on the test split.
        stage_scores: the scores that the path was selected by; None in results of earlier versions.
    """

    FILE: ClassVar[str] = "metrics.json"
    FORMAT: ClassVar[int] = 1

    version: str
    task: str
    metric: Metric
    kind: str
    example: str | None
    seed: int
    preset: str
    preset_reason: str
    base: str
    base_reason: str
    path: tuple[str, ...]
    summary: str
    best_model: str
    best_reason: str
    gap: DiscretizationGap
    components: Mapping[str, ComponentInfo]
    alignment: AlignmentInfo | None
    machine: Mapping[str, object]
    seconds: Mapping[str, float]
    rows: tuple[ModelRow, ...]
    stage_scores: StageScores | None = None
    exported: str = HYBRID

    def __post_init__(self) -> None:
        names = [row.name for row in self.rows]
        for name in (HYBRID_ROW, self._best_name):
            if name not in names:
                raise ValueError(f"rows have no '{name}'")
        if self.exported not in (HYBRID, self.best_model):
            raise ValueError(f"'{self.exported}' was exported, which is neither the hybrid nor the best model")

    @property
    def hybrid(self) -> ModelRow:
        """The row of the fine-tuned path."""
        return self._row(HYBRID_ROW)

    @property
    def best_row(self) -> ModelRow:
        """The row of the best model by validation score: the hybrid or a component."""
        return self._row(self._best_name)

    @property
    def _best_name(self) -> str:
        return HYBRID_ROW if self.best_model == HYBRID else f"{self.best_model} alone"

    def _row(self, name: str) -> ModelRow:
        return next(row for row in self.rows if row.name == name)

    def best(self, group: str) -> ModelRow | None:
        """The row of a group with the best score; None if the group is empty."""
        rows = [row for row in self.rows if row.group == group]
        return max(rows, key=lambda row: self.metric.sort_key(row.score.value), default=None)
