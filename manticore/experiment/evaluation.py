"""The comparison: everything that was trained, and what needs no training, on one untouched test split."""

from __future__ import annotations

import math

from torch import nn

from manticore import __version__
from manticore.components import Component
from manticore.experiment.environment import environment_info
from manticore.experiment.experiment import Experiment, PhaseResult
from manticore.experiment.model_selection import choose_export
from manticore.experiment.phases import RANDOM
from manticore.experiment.projectors import ProjectorFit
from manticore.nas.cost import flops, model_parameters, parameters
from manticore.nas.discretize import discretize
from manticore.nas.supernet import Supernet
from manticore.results.search import (
    DISCRETE_ROW,
    HYBRID_ROW,
    SOFT_ROW,
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


def compare(
    exp: Experiment,
    base: str,
    reason: str,
    alone: dict[str, PhaseResult],
    found: PhaseResult,
    path: list[str],
    tuned: PhaseResult,
    others: dict[str, PhaseResult],
) -> SearchResult:
    """Everything on the same untouched test split, which is read here and nowhere else."""
    supernet = found.net
    assert isinstance(supernet, Supernet)
    info(exp.console, "comparing on the test split")
    raw = discretize(supernet, path, **exp.task.config_fields())
    rows = [
        _row(exp, SOFT_ROW, "search", supernet, found.tokens),
        _row(exp, DISCRETE_ROW, "search", raw, found.tokens),
        _row(exp, HYBRID_ROW, "search", tuned.net, found.tokens + tuned.tokens),
        *(
            _row(exp, f"{name} alone", "component", phase.net, phase.tokens, phase.task)
            for name, phase in alone.items()
        ),
    ]
    for name, phase in others.items():
        inherited = found.tokens if name == RANDOM and exp.recipe.finetune.init == "supernet" else 0
        rows.append(_row(exp, name, "baseline", phase.net, inherited + phase.tokens))
    soft, discrete, finetuned = (row.score.value for row in rows[:3])
    rows += _heuristic_rows(exp.task)
    exported, why = choose_export(exp, tuned, alone)
    preset, preset_why = exp.preset
    architecture = supernet.architecture(path)
    fit = exp.fits.get(base)
    return SearchResult(
        version=__version__,
        task=exp.task.name,
        metric=metrics[exp.task.metric],
        kind=exp.task.kind,
        example=exp.task.example_text(),
        seed=exp.recipe.run.seed,
        preset=preset,
        preset_reason=preset_why,
        base=architecture.base,
        base_reason=reason if supernet.topology.has_base else "it runs the first stage",
        path=tuple(path),
        summary=architecture.words(),
        exported=exported,
        exported_reason=why,
        gap=DiscretizationGap(soft, discrete, finetuned),
        components={component.name: _component_info(component, exp.space.stages) for component in exp.components},
        alignment=fit.info if isinstance(fit, ProjectorFit) else None,
        machine=environment_info(),
        seconds=exp.seconds,
        rows=tuple(rows),
    )


def _component_info(component: Component, stages: int) -> ComponentInfo:
    return ComponentInfo(
        source=component.source,
        revision=component.revision,
        parameters=parameters(component.model),
        layers=component.depth,
        width=component.width,
        layer_boundaries=tuple(component.layer_boundaries(stages)),
    )


def _row(exp: Experiment, name: str, group: str, net: nn.Module, tokens: int, task: Task | None = None) -> ModelRow:
    score = SplitScore.of(exp.score(net, "test", task).to_dict(), metrics[exp.task.metric])
    return ModelRow(name, group, score, model_parameters(net), flops(net, exp.mean_length), tokens)


def _heuristic_rows(task: Task) -> list[ModelRow]:
    """One row for each of the task's heuristics, which need no training."""
    count = len(task.splits().test)
    scores = {name: Score(math.nan, accuracy, count) for name, accuracy in task.guesses().items()}
    return [ModelRow(name, "heuristic", SplitScore.of(score.to_dict(), score.metric)) for name, score in scores.items()]
