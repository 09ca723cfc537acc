"""Evaluation of all trained models and of heuristics on the test split, which a search reads nowhere else."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn
from transformers import PreTrainedModel

from manticore import __version__
from manticore.components import Component
from manticore.experiment.budget import path_budget
from manticore.experiment.environment import environment_info
from manticore.experiment.experiment import Experiment, PhaseResult
from manticore.experiment.model_selection import Choice, choose_best, selector_of
from manticore.experiment.phases import UNIFORM_MIXTURE, starts_from_components
from manticore.nas.cost import flops, model_parameters, parameters
from manticore.nas.selection.largest_weight import LARGEST_WEIGHT
from manticore.nas.selection.scores import stage_ranks
from manticore.nas.space import SearchSpace
from manticore.nas.stage_scores import StageScores, weight_scores
from manticore.nas.supernet import Supernet
from manticore.report.run.reading import read_alphas
from manticore.results.search import (
    DISCRETE_ROW,
    HYBRID,
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
from manticore.training.scoring import Score, paired_lead
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
        controls: by name the uniform mixture, the random path and placements, if the recipe has them.
    """

    base: Choice
    solo: dict[str, PhaseResult[PreTrainedModel]]
    search: PhaseResult[Supernet]
    path: list[str]
    discrete: PreTrainedModel
    hybrid: PhaseResult[PreTrainedModel]
    controls: dict[str, PhaseResult[Any]]


def evaluate_on_test(exp: Experiment, trained: TrainedModels) -> SearchResult:
    """Score every model on the test split, count its cost, and find the best one by validation score."""
    info(exp.console, "evaluating on the test split")
    rows = _rows(exp, trained)
    soft, discrete, finetuned = (row.score.value for row in rows[:3])
    best, best_reason = choose_best(exp, trained.hybrid, trained.solo)
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
        best_model=best,
        best_reason=best_reason,
        gap=DiscretizationGap(soft, discrete, finetuned),
        components={component.name: _component_info(component, exp.space) for component in exp.components},
        alignment=None if fit is None else AlignmentInfo(fit.tokens, fit.paired, tuple(fit.stages)),
        machine=environment_info(exp.hardware.device),
        seconds=exp.seconds,
        rows=tuple(rows),
        stage_scores=stage_scores(exp, trained.search),
        exported=best if exp.recipe.selection.export == "best" else HYBRID,
    )


@dataclass(frozen=True)
class _Entry:
    """A model that is scored on the test split."""

    name: str
    group: str
    net: nn.Module
    tokens: int
    task: Task | None = None
    path: tuple[str, ...] | None = None


def _rows(exp: Experiment, trained: TrainedModels) -> list[ModelRow]:
    """A row for each model, and one for each heuristic; each with the lead of the fine-tuned hybrid over it."""
    entries = _entries(exp, trained)
    scores = {entry.name: exp.score(entry.net, "test", entry.task) for entry in entries}
    hybrid, metric = scores[HYBRID_ROW], metrics[exp.task.metric]
    rows = []
    for entry in entries:
        score = scores[entry.name]
        costs = model_parameters(entry.net), flops(entry.net, exp.mean_length), entry.tokens
        lead = paired_lead(hybrid, score) if entry.name != HYBRID_ROW and score.metric == metric else None
        rows.append(ModelRow(entry.name, entry.group, SplitScore.of(score.to_dict(), metric), *costs, lead, entry.path))
    for name, score in heuristic_scores(exp.task).items():
        lead = paired_lead(hybrid, score)
        rows.append(ModelRow(name, "heuristic", SplitScore.of(score.to_dict(), score.metric), lead=lead))
    return rows


def _entries(exp: Experiment, trained: TrainedModels) -> list[_Entry]:
    """All models. Tokens include those of the search, where a model starts from the supernet's weights."""
    search, hybrid, path = trained.search, trained.hybrid, tuple(trained.path)
    entries = [
        _Entry(SOFT_ROW, "search", search.net, search.tokens + search.kept_tokens),
        _Entry(DISCRETE_ROW, "search", trained.discrete, search.tokens + search.kept_tokens, path=path),
        _Entry(HYBRID_ROW, "search", hybrid.net, search.tokens + hybrid.tokens, path=path),
    ]
    for name, phase in trained.solo.items():
        entries.append(_Entry(f"{name} alone", "component", phase.net, phase.tokens, phase.task))
    for name, phase in trained.controls.items():
        is_path = name != UNIFORM_MIXTURE
        inherited = search.tokens if is_path and not starts_from_components(exp.recipe) else 0
        drawn = tuple(phase.net.config.path) if is_path else None
        entries.append(_Entry(name, "baseline", phase.net, inherited + phase.tokens, path=drawn))
    return entries


def heuristic_scores(task: Task) -> dict[str, Score]:
    """The score of each heuristic of the task on the test split; they need no training."""
    test = task.splits().test
    scores = {}
    for name, answers in task.heuristic_answers().items():
        right, total = (np.bincount(answers.owners, weights, len(test)) for weights in (answers.right, None))
        units = np.stack([right, total], 1, dtype=np.float64)
        scores[name] = Score(math.nan, answers.accuracy, len(test), units=units)
    return scores


def stage_scores(exp: Experiment, search: PhaseResult[Supernet]) -> StageScores:
    """The scores that the path was selected by: those of a selector or of a strategy, or else mixing weights."""
    selector, trains_paths = selector_of(exp.recipe), search.finetune_steps is not None
    scores, alphas = search.stage_scores, read_alphas(exp.run_dir.alphas, exp.space.stages)
    if search.path_scores is not None and (trains_paths or selector != LARGEST_WEIGHT):
        chosen_by = exp.recipe.search.strategy if trains_paths else f"the selector {selector}"
        scores = stage_ranks(search.path_scores, search.net.choices, chosen_by)
    if scores is None and alphas is not None:
        scores = weight_scores(alphas.candidates, alphas.weights)
    if scores is None:
        scores = weight_scores(search.net.candidates, [tuple(map(tuple, search.net.weights().tolist()))])
    rule = scores.rule or "The path has the largest product of mixing weights"
    rule = f"{rule}{'' if path_budget(exp).unlimited else ', among the paths within the budget'}."
    return replace(scores, rule=rule, warnings=search.warnings)


def _component_info(component: Component, space: SearchSpace) -> ComponentInfo:
    return ComponentInfo(
        source=component.source,
        revision=component.revision,
        parameters=parameters(component.model),
        layers=component.depth,
        width=component.width,
        layer_boundaries=tuple(space.layer_boundaries(component)),
        license=component.license,
    )
