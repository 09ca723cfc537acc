"""The Pareto front of a search: from its scores of paths and the costs of the space, without training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

from manticore.errors import ManticoreError
from manticore.experiment.experiment import Experiment
from manticore.nas.choices import Choices, PathNames
from manticore.nas.cost import PathCosts
from manticore.nas.resources import Resource, parse_objectives
from manticore.nas.selection import Budget, ListedScores
from manticore.nas.selection.pareto import pareto_front
from manticore.nas.supernet import Supernet
from manticore.results.pareto import ParetoFront, ParetoPoint
from manticore.results.path_scores import SavedScores
from manticore.tasks.dataset import IGNORE

MAX_DOMINATED = 256
"""Largest number of paths of a space whose dominated paths are all part of the record."""


def find_front(
    exp: Experiment, net: Supernet, saved: SavedScores, objectives: Sequence[str], budget: Budget, selected: PathNames
) -> ParetoFront:
    """The front, and the paths that it is compared with: dominated ones, components alone, hybrids made by hand.

    Args:
        exp: the run.
        net: its supernet, which may be on the meta device.
        saved: the scores of the search.
        objectives: a quality and resources; see `parse_objectives`.
        budget: limits that all paths of the front keep to.
        selected: the path that the run selected.

    Raises ManticoreError for a quality that the run has not measured, and if no scored path is within the limits.
    """
    quality, parsed = parse_objectives(objectives)
    factor = quality_factor(exp, saved, quality)
    scores, costs = saved.scores, PathCosts(net, exp.task.max_length)
    resources = [resource.at(costs.length) for resource in parsed]
    labels = {**by_hand(net.choices, exp.space.names), selected: "selected"}
    front = [point.path for point in pareto_front(scores, costs, resources, budget)]
    if not front:
        raise ManticoreError(f"no path that was scored has {budget.summary}")
    compared: list[PathNames] = [path for path in labels if path not in front]
    if isinstance(scores, ListedScores):
        compared += scores.values.keys() - {*front, *compared}
    elif net.choices.count <= MAX_DOMINATED:
        compared += set(net.choices.paths()) - {*front, *compared}
    points = [
        _point(path, costs, resources, factor * scores.score(path), path in front) for path in (*front, *compared)
    ]
    known = [replace(point, label=labels.get(point.path, "")) for point in points if math.isfinite(point.quality)]
    ordered = sorted(known, key=lambda point: (not point.on_front, point.costs, point.path))
    limits = "" if budget.unlimited else budget.summary
    return ParetoFront(quality, saved.selector, tuple(map(str, resources)), limits, tuple(ordered))


def _point(
    path: PathNames, costs: PathCosts, resources: Sequence[Resource], quality: float, on_front: bool
) -> ParetoPoint:
    return ParetoPoint(path, quality, tuple(costs.cost(path, resource) for resource in resources), on_front)


def by_hand(choices: Choices, components: Sequence[str]) -> dict[PathNames, str]:
    """Components alone, and of every two components one after the other and in turns, where these are paths."""
    stages, paths = choices.stages, dict[PathNames, str]()
    for name in components:
        paths[(name,) * stages] = f"{name} alone"
    for first, second in permutations(components, 2):
        half = stages // 2
        for path in ((first,) * half + (second,) * (stages - half), ((first, second) * stages)[:stages]):
            paths.setdefault(path, "by hand")
    allowed = [{*choices.names(stage)} for stage in range(stages)]
    return {
        path: label
        for path, label in paths.items()
        if all(name in names for name, names in zip(path, allowed, strict=True))
        and all(path[stage] == path[choices.rows[stage]] for stage in range(stages))
    }


def quality_factor(exp: Experiment, saved: SavedScores, quality: str) -> float:
    """The factor from a score to the quality. Raises ManticoreError for a quality that the run has not measured."""
    if quality == "score":
        return 1.0
    if not saved.is_loss:
        raise ManticoreError(
            f"the paths of this run were scored by {saved.selector}, not by their {quality.replace('_', ' ')}; "
            "use score, or search with selection.selector=evaluated"
        )
    if quality == "loss":
        return -1.0
    examples = exp.task.splits().val
    if examples.num_bytes is None:
        raise ManticoreError(f"{exp.task.name} is not measured in bits per byte; use loss")
    labels = sum(int((exp.task.collate([examples[index]])["labels"] != IGNORE).sum()) for index in range(len(examples)))
    return -labels / (math.log(2) * float(examples.num_bytes.sum()))
