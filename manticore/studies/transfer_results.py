"""From what was trained to what is told of programming: the choice, correlations, regret, costs. All plain data.

The path is programmed by the searches: it has the largest product of mixing weights over all proxies, the geometric
mean taken over seeds. That is what `best_path` finds; here all paths are known, so it is the first in a list. A second
opinion needs no search: the path with the best mean accuracy on the proxies. Neither looks at the target.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from manticore.errors import ManticoreError
from manticore.studies.aggregate import arm_result, correlation, log_weight, regret
from manticore.studies.scheduler import Results
from manticore.studies.transfer import TaskStudy
from manticore.training.metrics import ACCURACY
from manticore.utils.statistics import mean_interval, paired_difference, spearman_interval

PathRow = dict[str, Any]


def path_rows(proxies: Sequence[TaskStudy], target: TaskStudy) -> list[PathRow]:
    """Every path: its score and log weight on each proxy, their mean and sum, and what it reaches on the target."""
    weights = [log_weights(ground) for ground in proxies]
    rows = []
    for place, path in enumerate(target.study.all_paths()):
        choices = {ground.task: _choices(ground.paths[place]) for ground in proxies}
        rows.append(
            {
                "path": path,
                "proxies": {task: asdict(mean_interval(held)) for task, held in choices.items()},
                "log_weights": {ground.task: held[place] for ground, held in zip(proxies, weights, strict=True)},
                "proxy": asdict(mean_interval([fmean(held) for held in zip(*choices.values(), strict=True)])),
                "log_weight": math.fsum(held[place] for held in weights),
                **_reached(target.paths[place]),
            }
        )
    return rows


def log_weights(ground: TaskStudy) -> list[float]:
    """The log of each path's mixing weights, summed over stages, in the mean over the seeds' searches.

    Raises ManticoreError if no search came to an end.
    """
    searches = [held["weights"] for held in ground.results["hybrid"] if held["weights"]]
    if not searches:
        raise ManticoreError(f"the search on {ground.task} diverged with every seed; try lower study.learning_rates")
    candidates = ground.study.space.candidates
    places = [[candidates.index(choice) for choice in path] for path in ground.study.all_paths()]
    return [fmean(log_weight(weights, path) for weights in searches) for path in places]


def transfer_arms(paths: Sequence[PathRow], target: TaskStudy) -> list[PathRow]:
    """What is compared on the target: the programmed path first, then the second opinion, components, best and median.

    `lead` is over base alone, `regret` how far the best path is above, both paired over seeds. The best is picked by
    its own test scores, so that noise makes the regret larger in the mean.
    """
    ranked = sorted(paths, key=lambda row: -row["accuracy"]["mean"])
    stays = [target.base] * target.study.space.stages
    named = {
        "programmed path": chosen_path(paths),
        "best on the proxies": max(paths, key=lambda row: row["proxy"]["mean"]),
        f"{target.base} alone": next(row for row in paths if row["path"] == stays),
        "best path": ranked[0],
        "median path": ranked[(len(ranked) - 1) // 2],  # of two in the middle the better
    }
    base = named[f"{target.base} alone"]
    rows = [
        {
            "name": name,
            **{key: row[key] for key in ("path", "accuracy", "values")},
            "lead": _lead(row, base),
            "regret": _lead(ranked[0], row),
            "place": 1 + sum(other["accuracy"]["mean"] > row["accuracy"]["mean"] for other in paths),
        }
        for name, row in named.items()
    ]
    others = zip(target.study.space.names, target.components, strict=True)
    lone = [_lone(f"{name} alone", results, base) for name, results in others if name != target.base]
    return [*rows[:3], *lone, *rows[3:]]


def _lone(name: str, results: Results, base: PathRow) -> PathRow:
    """A component alone that is none of the paths: it is its own base."""
    row = _reached(results)
    return {"name": name, "path": None, **row, "lead": _lead(row, base), "regret": None, "place": None}


def _lead(ours: PathRow, theirs: PathRow) -> PathRow:
    return asdict(paired_difference(ours["values"], theirs["values"]))


def chosen_path(paths: Sequence[PathRow]) -> PathRow:
    """The path that the searches on the proxies come to."""
    return max(paths, key=lambda row: row["log_weight"])


def searched_path(paths: Sequence[PathRow], target: TaskStudy) -> PathRow | None:
    """The target's own search: what its hybrids reach, how far their paths from scratch are below the best.

    None if there was none, or if one of its seeds diverged.
    """
    results = target.results.get("hybrid")
    if not results or not all(held["weights"] for held in results):
        return None
    arm = arm_result("search on the target", "hybrid", target.study.learning_rates["hybrid"], results, ACCURACY)
    base = next(held for held in paths if set(held["path"]) == {target.base})
    scores = {tuple(held["path"]): held["accuracy"]["mean"] for held in paths}
    found = regret(scores, [search.path for search in arm.searches], ACCURACY)
    ranks = correlation(scores, target.study.space.candidates, [search.weights for search in arm.searches], ACCURACY)
    return {
        "name": arm.name,
        "path": arm.path_summary,
        "accuracy": asdict(arm.score),
        "values": arm.seed_scores,
        "lead": asdict(paired_difference(arm.seed_scores, base["values"])),
        "regret": None if found is None else asdict(found),
        "correlation": None if ranks is None else asdict(ranks),
        "seeds": [{"path": held["path"], "weights": held["weights"]} for held in results],
    }


def correlations(paths: Sequence[PathRow], proxies: Sequence[str]) -> list[PathRow]:
    """Rank correlation over all paths of target accuracy with proxy accuracy, and with the searches' log weights.

    One for each proxy, and one for their mean and sum. None where one side is the same for all paths.
    """
    reached = [row["accuracy"]["mean"] for row in paths]

    def held(scores: list[float]) -> dict[str, Any] | None:
        found = spearman_interval(scores, reached)
        return None if found is None else asdict(found)

    single = [
        {
            "proxy": task,
            "accuracy": held([row["proxies"][task]["mean"] for row in paths]),
            "log_weight": held([row["log_weights"][task] for row in paths]),
        }
        for task in proxies
    ]
    together = {
        "accuracy": held([row["proxy"]["mean"] for row in paths]),
        "log_weight": held([row["log_weight"] for row in paths]),
    }
    return [*single, {"proxy": "all proxies", **together}]


def costs(proxies: Sequence[TaskStudy], target: TaskStudy) -> list[PathRow]:
    """Training tokens and operations of each way, for one seed and one learning rate, in the mean over seeds.

    A search of the target that was not run is known to see as many tokens as a path does, but its operations are not.
    """
    one = target.results.get("hybrid")
    spent = _spent([one]) if one else {**_spent(target.paths[:1]), "flops": None}
    return [
        {"name": "one search on each proxy", **_spent([ground.results["hybrid"] for ground in proxies])},
        {"name": "every path on each proxy", **_spent([held for ground in proxies for held in ground.paths])},
        {"name": "one search on the target", **spent},
        {"name": "every path on the target", **_spent(target.paths)},
    ]


def _spent(sides: Sequence[Results]) -> dict[str, float | None]:
    return {
        key: math.fsum(fmean(result[key] for result in results) for results in sides) for key in ("tokens", "flops")
    }


def _reached(results: Results) -> PathRow:
    """Test accuracy by seed, and its mean."""
    values = {str(seed): held["test"]["score"]["accuracy"] for seed, held in enumerate(results)}
    return {"accuracy": asdict(mean_interval(list(values.values()))), "values": values}


def _choices(results: Results) -> list[float]:
    return [held["score"]["accuracy"] for held in results]
