"""From results to what is told of them: rows, intervals over seeds, differences, regret, verdicts. All plain data.

Knows nothing of trials or how they were run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from manticore.statistics import Interval, mean_interval, paired_difference, spearman_interval, verdict

Results = Sequence[Mapping[str, Any]]
Row = dict[str, Any]


def table_row(name: str, group: str, rate: float, results: Results) -> Row:
    """A line of a task's table.

    Args:
        name, group: see `Side`.
        rate: the learning rate.
        results: one for each seed, from 0.
    """
    values = [held["test"]["score"]["accuracy"] for held in results]
    paths = Counter(" · ".join(held["path"]) for held in results if held["path"])
    told = ", ".join(f"{path} ({count} of {len(results)} seeds)" for path, count in paths.most_common())
    return {
        "name": name,
        "group": group,
        "lr": rate,
        "accuracy": asdict(mean_interval(values)),
        "values": {str(seed): value for seed, value in enumerate(values)},
        "choices": {str(seed): held["score"]["accuracy"] for seed, held in enumerate(results)},
        "choice": fmean(held["score"]["accuracy"] for held in results),
        "parameters": round(fmean(held["parameters"] for held in results)),
        "flops_per_token": fmean(held["flops_per_token"] for held in results),
        "train_tokens": round(fmean(held["tokens"] for held in results)),
        "train_flops": fmean(held["flops"] for held in results),
        "seconds": fmean(held["seconds"] for held in results),
        "path": told or None,
        "seeds": [
            {key: held[key] for key in ("path", "weights")} | {"before": held["test"]["before"]} for held in results
        ]
        if group == "hybrid" and all(held["path"] for held in results)  # none diverged
        else [],
    }


def gap(row: Row) -> dict[str, Any] | None:
    """Accuracy of the hybrid as a mixture, as a path, and fine-tuned."""
    if not row["seeds"]:
        return None
    before = {
        name: asdict(mean_interval([held["before"][name]["accuracy"] for held in row["seeds"]]))
        for name in ("soft", "discrete")
    }
    return {**before, "finetuned": row["accuracy"]}


def exported(rows: Sequence[Row]) -> Row | None:
    """What `manticore search` exports: with each seed the hybrid, or a component that is better on model choice."""
    hybrid = rows[0]
    alone = [row for row in rows if row["group"] == "component"]
    if not alone:
        return None
    values = {}
    for seed in hybrid["values"]:
        best = max([hybrid, *alone], key=lambda row: row["choices"][seed])
        values[seed] = best["values"][seed]
    return {"accuracy": asdict(mean_interval(list(values.values()))), "values": values}


def better_component(rows: Sequence[Row]) -> Row | None:
    """The component that is best on the model-choice split, in the mean over seeds."""
    alone = [row for row in rows if row["group"] == "component"]
    return max(alone, key=lambda row: row["choice"], default=None)


def differences(rows: Sequence[Row]) -> dict[str, dict[str, Any]]:
    """By rival, the hybrid's test accuracy less the rival's, paired over seeds."""
    return {row["name"]: asdict(paired_difference(rows[0]["values"], row["values"])) for row in rows[1:]}


def path_rows(paths: Iterable[Mapping[str, Any]], hybrid: Row) -> list[dict[str, Any]]:
    """Every path with its test accuracy from scratch, and how many seeds' searches found it."""
    found = Counter(tuple(held["path"]) for held in hybrid["seeds"])
    return [
        {
            "path": held["path"],
            "accuracy": asdict(mean_interval([result["test"]["score"]["accuracy"] for result in held["results"]])),
            "chosen": found[tuple(held["path"])],
        }
        for held in paths
    ]


def regret(paths: Sequence[Mapping[str, Any]], hybrid: Row) -> dict[str, Any] | None:
    """How far below the best of all paths the found ones are, every path trained from scratch. 0: the best was found.

    The best is picked by its own test scores, so that noise makes the regret larger, never smaller.
    """
    if not paths or not hybrid["seeds"]:
        return None
    scores = {tuple(held["path"]): held["accuracy"]["mean"] for held in paths}
    return asdict(mean_interval([max(scores.values()) - scores[tuple(held["path"])] for held in hybrid["seeds"]]))


def correlation(paths: Sequence[Mapping[str, Any]], candidates: Sequence[str], hybrid: Row) -> dict[str, Any] | None:
    """Rank correlation over all paths: the search's log weight, mean over seeds, and test accuracy from scratch."""
    if len(paths) < 2 or not hybrid["seeds"]:
        return None
    scores = []
    for held in paths:
        places = [candidates.index(choice) for choice in held["path"]]
        scores.append(fmean(log_weight(seed["weights"], places) for seed in hybrid["seeds"]))
    found = spearman_interval(scores, [held["accuracy"]["mean"] for held in paths])
    return None if found is None else asdict(found)


def log_weight(weights_SK: Sequence[Sequence[float]], places: Sequence[int]) -> float:
    """Log of the product of a path's mixing weights; `places` are its candidates, stage by stage."""
    return math.fsum(math.log(max(row[place], 1e-30)) for row, place in zip(weights_SK, places, strict=True))


def verdicts(tasks: Sequence[Mapping[str, Any]], budget: str) -> list[str]:
    """Sentences: the hybrid against the better component, and against each other rival, over all tasks."""
    tables = {held["task"]: held["tables"][budget] for held in tasks}
    against: dict[str, dict[str, Interval]] = {}
    for task, rows in tables.items():
        best = better_component(rows)
        for row in rows[1:]:
            name = "the better component" if row is best else called(row)
            if row["group"] != "component" or row is best:
                against.setdefault(name, {})[task] = paired_difference(rows[0]["values"], row["values"])
    return [verdict("the hybrid", name, held) for name, held in against.items()]


def called(row: Row) -> str:
    """A rival in the middle of a sentence."""
    names = {
        "mambaformer": "MambaFormer",
        "striped": "the striped hybrid",
        "uniform mixture": "the uniform mixture",
        "random path": "a random path",
        "hub": "the paper's hub",
    }
    return names.get(row["name"], str(row["name"]))
