"""Whether recipes of proxies and a target go together, said before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from manticore.errors import ManticoreError
from manticore.recipe import Recipe
from manticore.report.metric import ACCURACY, metric_named
from manticore.tasks.base import Task

MOST_PATHS = 64
"""Paths of a space whose every path is trained."""

ALIKE: dict[str, Callable[[Recipe], object]] = {
    "stages": lambda recipe: recipe.search_space().stages,
    "components": lambda recipe: len(recipe.search_space().names),
    "topology": lambda recipe: recipe.search_space().topology,
    "skip": lambda recipe: recipe.search_space().skip,
    "seeds": lambda recipe: recipe.contest.seeds,
}
"""What proxies and target must have in common."""


def check(proxies: Sequence[Recipe], target: Recipe) -> None:
    """Raises ManticoreError if the recipes do not go together, or their space is too large."""
    if not proxies:
        raise ManticoreError("programming needs at least one proxy")
    recipes = [*proxies, target]
    for what, read in ALIKE.items():
        if len({read(recipe) for recipe in recipes}) > 1:
            told = ", ".join(f"{recipe.task.name} has {read(recipe)}" for recipe in recipes)
            raise ManticoreError(f"proxies and target must agree in {what}: {told}")
    _check_home(recipes)
    _check_budget(recipes)
    space = target.search_space()
    paths = len(space.candidates) ** space.stages - space.skip
    if paths > MOST_PATHS:
        raise ManticoreError(
            f"every path is trained on each task, and this space has {paths:,}, more than {MOST_PATHS}: "
            "take fewer stages or components"
        )


def unbounded(recipe: Recipe) -> Recipe:
    """The recipe without the bound by its largest component, which it may have: any path may be programmed."""
    return replace(recipe, selection=replace(recipe.selection, within_largest=False))


def _check_home(recipes: Sequence[Recipe]) -> None:
    spaces = {recipe.task.name: recipe.search_space() for recipe in recipes}
    homes = {task: space.home for task, space in spaces.items() if space.home is not None}
    if len({spaces[task].names.index(home) for task, home in homes.items()}) > 1:
        told = ", ".join(f"{home} on {task}" for task, home in homes.items())
        raise ManticoreError(f"proxies and target must have the same component as home, by its place: {told}")


def _check_budget(recipes: Sequence[Recipe]) -> None:
    for recipe in recipes:
        options = recipe.selection
        if options.max_parameters is not None or options.max_flops is not None:
            raise ManticoreError("a path cannot be programmed within a budget; leave out the keys under selection")


def check_metrics(tasks: Sequence[Task]) -> None:
    """Raises ManticoreError if a task is measured by something else than accuracy, in which proxies are averaged."""
    for task in tasks:
        if task.metric != ACCURACY.name:
            raise ManticoreError(
                f"{task.name} is measured in {metric_named(task.metric).words}; programming needs proxies and a target "
                "that are measured by accuracy, such as mad and lra (compare with --paths takes text)"
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
