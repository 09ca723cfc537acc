"""Checks before a study begins, so that no study starts that cannot be completed, and the set-up of its scheduler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from rich.console import Console

from manticore.components.spec import SKIP
from manticore.components.tokenizers import one_vocabulary
from manticore.config.recipe import Recipe
from manticore.config.sections import RunOptions
from manticore.errors import ManticoreError
from manticore.experiment.checks import check_experiment
from manticore.experiment.experiment import Experiment
from manticore.experiment.model_selection import given_base
from manticore.experiment.run_dir import RunDir
from manticore.nas.resources import LARGEST_COMPONENT, Limit
from manticore.nas.strategies import PathStrategy, strategies
from manticore.studies.launchers import Crew
from manticore.studies.scheduler import TrialScheduler
from manticore.studies.store import JobStore
from manticore.studies.trial import TrialRunner
from manticore.tasks.task import Task
from manticore.training.metrics import ACCURACY, metrics
from manticore.training.trainer import Hardware
from manticore.utils.console import info

RESULT_FILES = ("comparison.json", "transfer.json")
"""The result files of all kinds of study."""

MAX_PATHS = 64
"""Largest number of paths of a space whose every path is trained."""


def check_study_dir(out: Path, result_file: str) -> None:
    """Raise ManticoreError if `out` has anything but the trials and the `result_file` of a study of the same kind."""
    if out.exists() and not out.is_dir():
        raise ManticoreError(f"{out} is a file; --out needs a folder")
    if not out.is_dir() or not any(out.iterdir()):
        return
    if not (out / "trials").is_dir():
        raise ManticoreError(f"{out} already holds something else than trials; choose another --out")
    for name in RESULT_FILES:
        if name != result_file and (out / name).exists():
            raise ManticoreError(f"{out} already holds {name}; choose another --out")


def make_scheduler(recipe: Recipe, out: Path, crew: Crew, console: Console) -> TrialScheduler:
    """A scheduler that stores results in `out/trials` and divides torch's threads among workers of this machine."""
    for op in recipe.space.ops:
        if (crew.workers > 1 or not crew.is_local) and not op.importable:
            raise ManticoreError(
                f"op '{op.name}' ({op.import_path}) cannot be imported by other processes; define it in a module, or "
                "use one worker"
            )
    run = divide_threads(recipe.run, crew.workers) if crew.is_local else recipe.run
    runner = TrialRunner(out.absolute() / "models", run, recipe.task.cache_dir)
    return TrialScheduler(JobStore(out / "trials"), runner, crew.executor, console)


def divide_threads(options: RunOptions, workers: int) -> RunOptions:
    """The options with an equal share of torch's threads, which OMP_NUM_THREADS limits, unless `threads` is set."""
    return options if options.threads else replace(options, threads=max(1, torch.get_num_threads() // workers))


def dry_run(recipe: Recipe, task: Task, hardware: Hardware) -> Experiment:
    """Check everything that can be checked before training, and read the data. Returns the experiment.

    Raises ManticoreError, with the name of the task, if that fails.
    """
    try:
        exp = Experiment.open(recipe, RunDir(Path()), Console(quiet=True), task, hardware)
        check_experiment(exp)
        if not task.is_language_modeling:  # `check_experiment` reads the splits of text with each tokenizer
            task.splits()
        return exp
    except ManticoreError as error:
        raise ManticoreError(f"{task.name}: {error}") from None


def excluded_baselines(exp: Experiment) -> dict[str, str]:
    """The baselines of the recipe that are impossible on the task, each with a description and the reason."""
    reasons = {}
    if exp.space.ops:
        reasons["hub"] = "the hub, which has no ops"
    elif any(names == [SKIP] for names in map(exp.space.choices.names, range(exp.space.stages))):
        reasons["hub"] = "the hub, where no stage is skipped"
    if exp.space.choices.count == 1:
        reasons["random"] = "a random path, since the space has a single path"
    if issubclass(strategies[exp.recipe.search.strategy], PathStrategy):
        reasons["soft"] = "the soft hybrid, which a strategy that trains paths by themselves does not have"
    if exp.task.is_language_modeling:
        reasons["designed"] = "MambaFormer and the striped hybrid, which have no pretrained weights to begin with"
        if not one_vocabulary([component.tokenizer for component in exp.components]):
            reasons["hub"] = "the hub, which mixes embeddings and heads and needs one tokenizer for all"
    return {name: reason for name, reason in reasons.items() if name in exp.recipe.study.baselines}


def apply_exclusions(exp: Experiment, console: Console) -> Recipe:
    """The recipe without its impossible baselines, and with the base if it is known before training.

    Prints a line for each baseline that is left out, and one for the base.
    """
    recipe, study, excluded = exp.recipe, exp.recipe.study, excluded_baselines(exp)
    for reason in excluded.values():
        info(console, f"{exp.task.name}: without {reason}")
    base = given_base(exp)
    if base is not None and not exp.space.base:
        name, reason = base
        info(console, f"{exp.task.name}: base: {name} ({reason})")
        recipe = replace(recipe, space=replace(recipe.space, base=name))
    baselines = tuple(name for name in study.baselines if name not in excluded)
    return replace(recipe, study=replace(study, baselines=baselines))


SHARED_SETTINGS: dict[str, Callable[[Recipe], object]] = {
    "stages": lambda recipe: recipe.space.stages,
    "components": lambda recipe: len(recipe.space.names),
    "topology": lambda recipe: recipe.space.topology,
    "skip": lambda recipe: recipe.space.skip,
    "ops": lambda recipe: recipe.space.op_names,
    "candidates of stages": lambda recipe: recipe.space.choices.allowed,
    "shared stages": lambda recipe: recipe.space.choices.decisions,
    "seeds": lambda recipe: recipe.study.seeds,
}
"""Properties that must be equal for proxies and target."""


def check_transfer(proxies: Sequence[Recipe], target: Recipe) -> None:
    """Raise ManticoreError if the recipes of proxies and target do not match, or if the space is too large."""
    if not proxies:
        raise ManticoreError("transfer needs at least one proxy")
    recipes = [*proxies, target]
    for name, value_of in SHARED_SETTINGS.items():
        if len({value_of(recipe) for recipe in recipes}) > 1:
            values = ", ".join(f"{recipe.task.name} has {value_of(recipe)}" for recipe in recipes)
            raise ManticoreError(f"proxies and target must agree in {name}: {values}")
    _check_base(recipes)
    _check_base_path(recipes)
    _check_budget(recipes)
    space = target.space
    paths = space.choices.count - all(SKIP in space.choices.names(stage) for stage in range(space.stages))
    if paths > MAX_PATHS:
        raise ManticoreError(
            f"every path is trained on each task, and this space has {paths:,}, more than {MAX_PATHS}: "
            "take fewer stages or components"
        )


def without_budget(recipe: Recipe) -> Recipe:
    """The recipe without the limits `largest_component` of its selection: any path may be selected."""
    limits = tuple(text for text in recipe.selection.max if Limit.parse(text).value != LARGEST_COMPONENT)
    return replace(recipe, selection=replace(recipe.selection, max=limits))


def _check_base(recipes: Sequence[Recipe]) -> None:
    spaces = {recipe.task.name: recipe.space for recipe in recipes}
    bases = {task: space.base for task, space in spaces.items() if space.base is not None}
    if len({spaces[task].names.index(base) for task, base in bases.items()}) > 1:
        values = ", ".join(f"{base} on {task}" for task, base in bases.items())
        raise ManticoreError(f"proxies and target must have the component of the same index as base: {values}")


def _check_base_path(recipes: Sequence[Recipe]) -> None:
    """Raise ManticoreError if a component that may be the base is no path of the space: all are compared with it."""
    for recipe in recipes:
        space = recipe.space
        if lacking := space.stage_without([space.base] if space.base else space.names):
            stage, name = lacking
            raise ManticoreError(
                f"transfer compares paths with the base alone, and '{name}' is no candidate of stage {stage}; add it "
                "in stage_candidates, or name another base"
            )


def _check_budget(recipes: Sequence[Recipe]) -> None:
    for recipe in recipes:
        if without_budget(recipe).selection.max or recipe.selection.min:
            raise ManticoreError("transfer selects a path without limits; leave out selection.max and selection.min")


def check_metrics(tasks: Sequence[Task]) -> None:
    """Raise ManticoreError if a task is not measured by accuracy: the scores of proxies are averaged."""
    for task in tasks:
        if task.metric != ACCURACY.name:
            raise ManticoreError(
                f"{task.name} is measured in {metrics[task.metric].label}; transfer needs proxies and a target that "
                "are measured by accuracy, such as mad and lra (compare --all-paths accepts text)"
            )


def check_data(tasks: Sequence[Task], fingerprints: Sequence[str]) -> None:
    """Raise ManticoreError if a proxy is repeated or is the target itself.

    Args:
        tasks: the proxies, and the target last.
        fingerprints: of their data.
    """
    names = [task.name for task in tasks[:-1]]
    for name in names:
        if names.count(name) > 1:
            raise ManticoreError(f"proxy {name} is given more than once")
    if fingerprints[-1] in fingerprints[:-1]:
        raise ManticoreError(f"{tasks[-1].name} is both proxy and target; a proxy must be another task, or other data")
