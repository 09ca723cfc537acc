"""Data to match: the share of a component's training data after which the hybrid has the loss of the whole training.

Both train on the same batches in the same order, and in the first epoch every batch is new, so the training loss is a
score on unseen data. What the hybrid saw in alignment and search counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import yaml

from manticore.errors import ManticoreError
from manticore.nas.strategies import PathStrategy, strategies
from manticore.report.run.reading import Run
from manticore.results.search import DISCRETE_ROW, ModelRow
from manticore.training.metrics import Metric
from manticore.utils.formatting import percent
from manticore.utils.yaml_loading import load_yaml

WINDOW = 0.1
"""Share of the component's records over which losses are averaged."""


@dataclass(frozen=True)
class DataToMatch:
    """How soon the hybrid has the training loss that a component has at its end.

    Attributes:
        component: the component with the best test score.
        loss: mean of its last losses.
        unit: of the loss.
        share: tokens that the hybrid was trained on until its mean is as low, as a share of the component's; None if it
            never is.
    """

    component: str
    loss: float
    unit: str
    share: float | None

    @property
    def sentence(self) -> str:
        """For the page: `Data to match: the hybrid has the final loss of mamba alone (1.084 nats) after 62 % of ...`"""
        level = f"the final loss of {self.component} ({self.loss:.3f} {self.unit})"
        if self.share is None:
            return f"Data to match: the hybrid does not reach {level} on the training data."
        return (
            f"Data to match: the hybrid has {level} after {percent(self.share)} of the component's training tokens; "
            "the hybrid's tokens in the search are counted."
        )


def data_to_match(run: Run) -> DataToMatch | None:
    """From the logged losses; None without components or logs, or where those of the hybrid are not comparable."""
    component = run.result.best("component")
    before = next((row for row in run.result.rows if row.name == DISCRETE_ROW), None)
    if component is None or before is None or not _is_comparable(run.recipe):
        return None
    curves = {curve.phase: curve.loss for curve in run.curves}
    own = curves.get("fine-tune", [])
    solo = curves.get(f"alone {component.name.removesuffix(' alone')}", [])
    tokens = (before.train_tokens, run.result.hybrid.train_tokens, component.train_tokens)
    if min(len(own), len(solo)) < 2 or None in tokens or not component.train_tokens:
        return None
    window = max(1, round(WINDOW * len(solo)))
    metric = run.result.metric
    level = fmean(loss for _, loss in solo[-window:]) * _scale(component, metric)
    step = _first_below([(step, loss * _scale(run.result.hybrid, metric)) for step, loss in own], level, window)
    share = None
    if step is not None:
        start, end, whole = (float(number or 0) for number in tokens)
        share = (start + step / own[-1][0] * (end - start)) / whole
    return DataToMatch(component.name, level, metric.unit if metric.for_text else "nats", share)


def _first_below(curve: Sequence[tuple[float, float]], level: float, window: int) -> float | None:
    """The first step at which the mean of the last `window` losses is at most `level`."""
    for end in range(window, len(curve) + 1):
        if fmean(loss for _, loss in curve[end - window : end]) <= level:
            return curve[end - 1][0]
    return None


def _scale(row: ModelRow, metric: Metric) -> float:
    """Factor of a training loss in nats per token: for text to bits per byte, as tokenizers may differ."""
    return row.score.value / row.score.loss if metric.for_text and row.score.loss else 1.0


def _is_comparable(recipe: str) -> bool:
    """Whether a recipe trains the hybrid by the components' loss, after the search.

    Not with a teacher or several exits, nor where the fine-tuning continues a training of the search.
    """
    try:
        sections = load_yaml(recipe)
        finetune, strategy = (sections.get(name) or {} for name in ("finetune", "search"))
        name = str(strategy.get("strategy"))
        trains_paths = name in strategies and issubclass(strategies[name], PathStrategy)
        return not (finetune.get("teacher") or finetune.get("exits") or trains_paths)
    except (yaml.YAMLError, AttributeError, TypeError, ManticoreError):
        return True
