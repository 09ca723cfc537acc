"""A finished search from its run folder: the experiment, the supernet, the hybrid on a path."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from transformers import PreTrainedModel

from manticore.adapters.attach import merged
from manticore.config.loading import read_recipe
from manticore.config.recipe import Recipe
from manticore.experiment.experiment import Experiment
from manticore.experiment.phases import ALONE, FINETUNE, build_component, finish_search, searched_relaxation
from manticore.experiment.run_dir import finished_run
from manticore.nas.architecture import Architecture
from manticore.nas.choices import Choices
from manticore.nas.discretize import discretize
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.results.search import SearchResult
from manticore.tasks.task import Task


def saved_recipe(folder: Path) -> Recipe:
    """The recipe of a finished run; ops are named, not imported. Raises ManticoreError if `folder` is none."""
    return read_recipe(finished_run(folder).recipe)


def open_finished(folder: Path, console: Console, trust_code: bool = False) -> Experiment:
    """The experiment of a finished run, with its task as the base reads it.

    Args:
        folder: the run folder.
        console: where progress is printed.
        trust_code: import the ops that the search space names by import path.

    Raises ManticoreError if `folder` is no finished run, if its components or its data are gone, or if an op has to be
    imported and is not trusted.
    """
    run_dir, recipe = finished_run(folder), saved_recipe(folder)
    exp = Experiment.open(replace(recipe, space=recipe.space.with_code(trust_code)), run_dir, console)
    return exp.for_component(SearchResult.load(folder).base)


def searched_supernet(exp: Experiment, base: str) -> Supernet:
    """The supernet of a finished search, with its weights, in evaluation mode, on the CPU.

    Raises BadFile if the weights are missing or damaged.
    """
    supernet = exp.supernet(base, searched_relaxation(exp.recipe), "search")
    exp.run_dir.restore("search", supernet)
    finish_search(supernet)
    return supernet.eval()


def check_candidates(path: Sequence[str], space: SearchSpace) -> None:
    """Check that a path is one of the space, or a component alone. Raises as `Choices.check` does."""
    listed = isinstance(path, Sequence) and not isinstance(path, str) and len(path) > 0
    alone = listed and path[0] in space.names and all(name == path[0] for name in path)
    choices = Choices.free(space.candidates, space.stages) if alone else space.choices
    choices.check(path)


def trained_phase(exp: Experiment, path: Sequence[str]) -> str | None:
    """The phase of a finished run that trained this path by itself; None if only the search trained it."""
    selected = Architecture.load(exp.run_dir.architecture).path
    alone = f"{ALONE}{path[0]}"
    if tuple(path) == selected:
        return FINETUNE
    return alone if len(set(path)) == 1 and exp.run_dir.weights(alone).is_file() else None


class PathModel(NamedTuple):
    """A path of a finished run.

    Attributes:
        net: the Hugging Face model, in evaluation mode.
        task: the task as the tokenizer of the model reads it.
        phase: the phase whose weights it has; None: those of the search.
    """

    net: PreTrainedModel
    task: Task
    phase: str | None


def hybrid_of(exp: Experiment, path: Sequence[str], trained: bool = True) -> PathModel:
    """A path of a finished run as a Hugging Face model, its adapters merged.

    Args:
        exp: the finished run.
        path: a candidate for each stage.
        trained: use the weights of the phase that trained this path by itself, if there is one; otherwise those of the
            search.
    """
    phase = trained_phase(exp, path) if trained else None
    if phase is not None and phase != FINETUNE:
        exp = exp.for_component(path[0])
        model = build_component(exp, path[0], phase)
    else:
        supernet = searched_supernet(exp, SearchResult.load(exp.run_dir.root).base)
        model = discretize(supernet, path, **exp.task.config_fields())
    if phase is not None:
        exp.run_dir.restore(phase, model)
    return PathModel(merged(model).eval(), exp.task, phase)
