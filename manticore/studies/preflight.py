"""Where a study is held: its folder, its processes, and a look at whether it can be before it begins."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from manticore.components.tokenizers import one_vocabulary
from manticore.config.recipe import Recipe
from manticore.config.sections import RunOptions
from manticore.errors import ManticoreError
from manticore.experiment.checks import check_experiment
from manticore.experiment.experiment import Experiment
from manticore.experiment.model_selection import given_base
from manticore.experiment.run_dir import RunDir
from manticore.studies.pool import executor_for
from manticore.studies.scheduler import TrialScheduler
from manticore.studies.store import JobStore
from manticore.studies.trial import TrialRunner
from manticore.tasks.task import Task
from manticore.training.metrics import ACCURACY, metrics
from manticore.training.trainer import Hardware
from manticore.utils.console import info

RESULTS = ("comparison.json", "program.json")
"""What a study leaves, whichever it is."""


def check_study_dir(out: Path, result: str) -> None:
    """Raises ManticoreError if `out` holds anything but trials and the `result` of a study of the same kind."""
    if out.exists() and not out.is_dir():
        raise ManticoreError(f"{out} is a file; --out needs a folder")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / "trials").is_dir():
        raise ManticoreError(f"{out} already holds something else than trials; choose another --out")
    for other in RESULTS:
        if other != result and (out / other).exists():
            raise ManticoreError(f"{out} already holds {other}; choose another --out")


def make_scheduler(recipe: Recipe, out: Path, workers: int, console: Console) -> TrialScheduler:
    """Processes that keep their trials in `out/trials` and share the machine's cores."""
    work = TrialRunner(out / "models", shared_options(recipe.run, workers), recipe.task.cache_dir)
    return TrialScheduler(JobStore(out / "trials"), work, executor_for(workers), console)


def shared_options(options: RunOptions, workers: int) -> RunOptions:
    """The machine's cores shared by the processes, unless threads were asked for."""
    return options if options.threads else replace(options, threads=max(1, (os.cpu_count() or 1) // workers))


def dry_run(recipe: Recipe, task: Task, machine: Hardware) -> Experiment:
    """Build and read what would be trained, once, and return the means.

    Raises ManticoreError, with the task's name, if that cannot be.
    """
    try:
        exp = Experiment.open(recipe, RunDir(Path()), Console(quiet=True), task, machine)
        check_experiment(exp)
        if not task.is_language_modeling:  # those of a language task are read by each tokenizer in `check_experiment`
            task.splits()
        return exp
    except ManticoreError as error:
        raise ManticoreError(f"{task.name}: {error}") from None


def excluded_baselines(exp: Experiment) -> dict[str, str]:
    """Contenders that were asked for but cannot take part in the task, each in words and with the reason."""
    out = {}
    if exp.task.is_language_modeling:
        out["designed"] = "MambaFormer and the striped hybrid, which have no pretrained weights to begin with"
        if not one_vocabulary([held.tokenizer for held in exp.components]):
            out["hub"] = "the hub, which mixes embeddings and heads and needs one tokenizer for all"
    return {name: words for name, words in out.items() if name in exp.recipe.study.baselines}


def apply_exclusions(exp: Experiment, console: Console) -> Recipe:
    """The recipe with those baselines that can take part in the task, and with base, if that is settled by now.

    There is a line on each arm that cannot.
    """
    recipe, study, absent = exp.recipe, exp.recipe.study, excluded_baselines(exp)
    for words in absent.values():
        info(console, f"{exp.task.name}: without {words}")
    able = tuple(name for name in study.baselines if name not in absent)
    settled = given_base(exp)
    if settled is not None and not exp.space.base:
        info(console, f"{exp.task.name}: base: {settled[0]} ({settled[1]})")
        recipe = replace(recipe, space=replace(recipe.space, base=settled[0]))
    return replace(recipe, study=replace(study, baselines=able))


MAX_PATHS = 64
"""Paths of a space whose every path is trained."""

SHARED_KEYS: dict[str, Callable[[Recipe], object]] = {
    "stages": lambda recipe: recipe.space.stages,
    "components": lambda recipe: len(recipe.space.names),
    "topology": lambda recipe: recipe.space.topology,
    "skip": lambda recipe: recipe.space.skip,
    "seeds": lambda recipe: recipe.study.seeds,
}
"""What proxies and target must have in common."""


def check_transfer(proxies: Sequence[Recipe], target: Recipe) -> None:
    """Raises ManticoreError if the recipes do not go together, or their space is too large."""
    if not proxies:
        raise ManticoreError("programming needs at least one proxy")
    recipes = [*proxies, target]
    for what, read in SHARED_KEYS.items():
        if len({read(recipe) for recipe in recipes}) > 1:
            told = ", ".join(f"{recipe.task.name} has {read(recipe)}" for recipe in recipes)
            raise ManticoreError(f"proxies and target must agree in {what}: {told}")
    _check_base(recipes)
    _check_budget(recipes)
    space = target.space
    paths = len(space.candidates) ** space.stages - space.skip
    if paths > MAX_PATHS:
        raise ManticoreError(
            f"every path is trained on each task, and this space has {paths:,}, more than {MAX_PATHS}: "
            "take fewer stages or components"
        )


def without_budget(recipe: Recipe) -> Recipe:
    """The recipe without the bound by its largest component, which it may have: any path may be programmed."""
    if recipe.selection.max_parameters != "largest_component":
        return recipe
    return replace(recipe, selection=replace(recipe.selection, max_parameters=None))


def _check_base(recipes: Sequence[Recipe]) -> None:
    spaces = {recipe.task.name: recipe.space for recipe in recipes}
    bases = {task: space.base for task, space in spaces.items() if space.base is not None}
    if len({spaces[task].names.index(base) for task, base in bases.items()}) > 1:
        told = ", ".join(f"{base} on {task}" for task, base in bases.items())
        raise ManticoreError(f"proxies and target must have the same component as base, by its place: {told}")


def _check_budget(recipes: Sequence[Recipe]) -> None:
    for recipe in recipes:
        options = recipe.selection
        if isinstance(options.max_parameters, float) or options.max_flops is not None:
            raise ManticoreError("a path cannot be programmed within a budget; leave out the keys under selection")


def check_metrics(tasks: Sequence[Task]) -> None:
    """Raises ManticoreError if a task is measured by something else than accuracy, in which proxies are averaged."""
    for task in tasks:
        if task.metric != ACCURACY.name:
            raise ManticoreError(
                f"{task.name} is measured in {metrics[task.metric].label}; programming needs proxies and a target "
                "that are measured by accuracy, such as mad and lra (compare with --all-paths takes text)"
            )


def check_data(tasks: Sequence[Task], data: Sequence[str]) -> None:
    """Raises ManticoreError if a proxy is there twice, or is the target itself.

    Args:
        tasks: proxies, and the target last.
        data: their digests.
    """
    names = [task.name for task in tasks[:-1]]
    for name in names:
        if names.count(name) > 1:
            raise ManticoreError(f"proxy {name} is given more than once")
    if data[-1] in data[:-1]:
        raise ManticoreError(f"{tasks[-1].name} is both proxy and target; a proxy must be another task, or other data")
