"""A table of HybridBench: a study of one task that trains every path of the space, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from statistics import fmean

from manticore.errors import ManticoreError
from manticore.experiment.environment import environment_info
from manticore.experiment.experiment import Experiment
from manticore.experiment.model_selection import given_base
from manticore.nas.bench import HybridBench, PathRecord
from manticore.nas.cost import PathCosts
from manticore.nas.resources import Resource
from manticore.studies.preflight import MAX_PATHS
from manticore.studies.scheduler import Results, RoundPlan
from manticore.studies.study import Study
from manticore.training.metrics import metrics

PathResults = Mapping[tuple[str, ...], Results]
"""The results of the trials of every path."""


def table_study(exp: Experiment, data: str) -> Study:
    """The study of a table. Raises ManticoreError if its base is not known, or the space has too many paths.

    `data` is `Task.fingerprint`.
    """
    base = given_base(exp)
    if base is None:
        raise ManticoreError(f"{exp.task.name}: a table has the same base on every path; set space.base in its recipe")
    recipe = replace(exp.recipe, space=replace(exp.space, base=base.name))
    study = Study(recipe, data, metrics[exp.task.metric], exp.search_length)
    if (count := study.space.choices.count) > MAX_PATHS:
        raise ManticoreError(f"{exp.task.name}: {count:,} paths are too many to train each; at most {MAX_PATHS}")
    return study


def table_plan(study: Study) -> RoundPlan[PathResults]:
    """Every path with every seed, at the learning rate of the recipe's fine-tuning."""
    assert study.space.base is not None
    return (yield from study.train_all_paths(study.space.base, study.recipe.finetune.weights.lr))


def table_of(name: str, study: Study, outcome: PathResults, exp: Experiment) -> HybridBench:
    """The table `name` from the results of its trials; `exp` is the experiment of the recipe."""
    base, metric, length = str(study.space.base), study.metric, exp.task.max_length
    exp = exp.for_component(base)
    finished = [result for results in outcome.values() for result in results if result["tokens"]]  # not diverged
    costs, cache = PathCosts(exp.skeleton(base), length), Resource("cache_bytes")

    def record(path: tuple[str, ...], results: Results) -> PathRecord:
        losses = [result["score"]["loss"] for result in results]
        return PathRecord(
            path=path,
            val=tuple(metric.value_of(result["score"]) for result in results),
            test=tuple(metric.value_of(result["test"]["score"]) for result in results),
            val_loss=tuple(loss if math.isfinite(loss) else None for loss in losses),
            parameters=max(result["parameters"] for result in results),
            flops_per_token=max(result["flops_per_token"] for result in results),
            cache_bytes=int(costs.cost(path, cache)),
            seconds=tuple(round(result["seconds"], 2) for result in results),
        )

    return HybridBench(
        name=name,
        task=exp.task.name,
        metric=metric.name,
        larger_is_better=metric.higher_is_better,
        scale=metric.scale,
        unit=metric.unit,
        recipe=study.recipe.to_dict(),
        base=base,
        seeds=tuple(study.seeds)[: len(next(iter(outcome.values())))],
        steps=study.steps,
        tokens=fmean(result["tokens"] for result in finished),
        flops=fmean(result["flops"] for result in finished),
        cache_length=length,
        data=study.data,
        paths=tuple(record(path, results) for path, results in outcome.items()),
        machine=environment_info(),
    )
