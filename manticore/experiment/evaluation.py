"""Evaluation of all trained models and of heuristics on the test split, which a search reads nowhere else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from manticore import __version__
from manticore.components import Component
from manticore.experiment.environment import environment_info
from manticore.experiment.experiment import Experiment, PhaseResult
from manticore.experiment.model_selection import Choice, choose_export
from manticore.experiment.phases import RANDOM_PATH
from manticore.nas.cost import flops, model_parameters, parameters
from manticore.nas.supernet import Supernet
from manticore.results.search import (
    DISCRETE_ROW,
    HYBRID_ROW,
    SOFT_ROW,
    AlignmentInfo,
    ComponentInfo,
    DiscretizationGap,
    ModelRow,
    SearchResult,
    SplitScore,
)
from manticore.tasks.task import Task
from manticore.training.metrics import metrics
from manticore.training.scoring import Score
from manticore.utils.console import info


@dataclass(frozen=True)
class TrainedModels:
    """All models that a search has trained, and its choices.

    Attributes:
        base: the base model.
        solo: each component alone.
        search: the searched supernet.
        path: the selected path.
        discrete: the hybrid on the path, before fine-tuning.
        hybrid: the hybrid after fine-tuning.
        controls: by name the uniform mixture and the random path, if the recipe has them.
    """

    base: Choice
    solo: dict[str, PhaseResult[PreTrainedModel]]
    search: PhaseResult[Supernet]
    path: list[str]
    discrete: PreTrainedModel
    hybrid: PhaseResult[PreTrainedModel]
    controls: dict[str, PhaseResult[Any]]


def evaluate_on_test(exp: Experiment, trained: TrainedModels) -> SearchResult:
    """Score every model on the test split, count its cost, and choose the model to export."""
    info(exp.console, "evaluating on the test split")
    rows = _rows(exp, trained)
    soft, discrete, finetuned = (row.score.value for row in rows[:3])
    exported, exported_reason = choose_export(exp, trained.hybrid, trained.solo)
    preset, preset_reason = exp.preset
    supernet = trained.search.net
    architecture = supernet.architecture(trained.path)
    fit = exp.cache.projector_fits.get(trained.base.name)
    return SearchResult(
        version=__version__,
        task=exp.task.name,
        metric=metrics[exp.task.metric],
        kind=exp.task.kind,
        example=exp.task.example_text(),
        seed=exp.recipe.run.seed,
        preset=preset,
        preset_reason=preset_reason,
        base=architecture.base,
        base_reason=trained.base.reason if supernet.topology.has_base else "the component of the first stage",
        path=architecture.path,
        summary=architecture.summary(),
        exported=exported,
        exported_reason=exported_reason,
        gap=DiscretizationGap(soft, discrete, finetuned),
        components={component.name: _component_info(component, exp.space.stages) for component in exp.components},
        alignment=None if fit is None else AlignmentInfo(fit.tokens, fit.paired, tuple(fit.stages)),
        machine=environment_info(),
        seconds=exp.seconds,
        rows=(*rows, *_heuristic_rows(exp.task)),
    )


def _rows(exp: Experiment, trained: TrainedModels) -> list[ModelRow]:
    """A row for each model. A model that starts from the supernet's weights has the tokens of the search too."""
    search, hybrid = trained.search, trained.hybrid
    rows = [
        _row(exp, SOFT_ROW, "search", search.net, search.tokens),
        _row(exp, DISCRETE_ROW, "search", trained.discrete, search.tokens),
        _row(exp, HYBRID_ROW, "search", hybrid.net, search.tokens + hybrid.tokens),
    ]
    for name, phase in trained.solo.items():
        rows.append(_row(exp, f"{name} alone", "component", phase.net, phase.tokens, phase.task))
    for name, phase in trained.controls.items():
        inherited = search.tokens if name == RANDOM_PATH and exp.recipe.finetune.init == "supernet" else 0
        rows.append(_row(exp, name, "baseline", phase.net, inherited + phase.tokens))
    return rows


def _row(exp: Experiment, name: str, group: str, net: nn.Module, tokens: int, task: Task | None = None) -> ModelRow:
    score = SplitScore.of(exp.score(net, "test", task).to_dict(), metrics[exp.task.metric])
    return ModelRow(name, group, score, model_parameters(net), flops(net, exp.mean_length), tokens)


def _heuristic_rows(task: Task) -> list[ModelRow]:
    """A row for each heuristic of the task; they need no training."""
    count = len(task.splits().test)
    scores = {name: Score(math.nan, accuracy, count) for name, accuracy in task.heuristic_baselines().items()}
    return [ModelRow(name, "heuristic", SplitScore.of(score.to_dict(), score.metric)) for name, score in scores.items()]


def _component_info(component: Component, stages: int) -> ComponentInfo:
    return ComponentInfo(
        source=component.source,
        revision=component.revision,
        parameters=parameters(component.model),
        layers=component.depth,
        width=component.width,
        layer_boundaries=tuple(component.layer_boundaries(stages)),
    )
