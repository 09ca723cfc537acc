"""From results to what is told of them: rows, intervals over seeds, differences, regret, verdicts. All plain data.

Knows nothing of trials or how they were run.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from manticore.report.study.summary import conclusion
from manticore.studies.study import Study, StudyOutcome
from manticore.training.metrics import Metric, metrics
from manticore.utils.statistics import Interval, mean_interval, paired_difference, ratio_interval, spearman_interval

Results = Sequence[Mapping[str, Any]]
ResultRow = dict[str, Any]


def study_tables(study: Study, outcome: StudyOutcome) -> dict[str, list[ResultRow]]:
    """The rows of each budget's table, the hybrid first."""
    return {
        budget: [
            table_row(arm.name, arm.group, study.learning_rates[arm.name], results[arm.name], study.metric)
            for arm in outcome.arms
        ]
        for budget, results in outcome.results.items()
    }


def table_row(name: str, group: str, rate: float, results: Results, metric: Metric) -> ResultRow:
    """A line of a task's table; what it reached on test is under the metric's name.

    Args:
        name, group: see `Side`.
        rate: the learning rate.
        results: one for each seed, from 0.
        metric: of the task.
    """
    values = [metric.value_of(held["test"]["score"]) for held in results]
    choices = [metric.value_of(held["score"]) for held in results]
    paths = Counter(" · ".join(held["path"]) for held in results if held["path"])
    told = ", ".join(f"{path} ({count} of {len(results)} seeds)" for path, count in paths.most_common())
    return {
        "name": name,
        "group": group,
        "lr": rate,
        metric.name: asdict(mean_interval(values)),
        "values": {str(seed): value for seed, value in enumerate(values)},
        "choices": {str(seed): value for seed, value in enumerate(choices)},
        "val": fmean(choices),
        "parameters": round(fmean(held["parameters"] for held in results)),
        "flops_per_token": fmean(held["flops_per_token"] for held in results),
        "train_tokens": round(fmean(held["tokens"] for held in results)),
        "train_flops": fmean(held["flops"] for held in results),
        "seconds": fmean(held["seconds"] for held in results),
        "path": told or None,
        "documents": _documents(results),
        "seeds": [
            {key: held[key] for key in ("path", "weights")} | {"before": held["test"]["before"]} for held in results
        ]
        if group == "hybrid" and all(held["path"] for held in results)  # none diverged
        else [],
    }


def _documents(results: Results) -> list[list[float]] | None:
    """Bits, in the mean over seeds, and bytes of each document of the test; None but for text."""
    held = [result["test"].get("documents") for result in results]
    if not all(held):
        return None
    return [[fmean(bits for bits, _ in parts), parts[0][1]] for parts in zip(*held, strict=True)]


def discretization_gap(row: ResultRow, metric: Metric) -> dict[str, Any] | None:
    """What the hybrid reaches as a mixture, as a path, and fine-tuned."""
    if not row["seeds"]:
        return None
    before = {
        name: asdict(mean_interval([metric.value_of(held["before"][name]) for held in row["seeds"]]))
        for name in ("soft", "discrete")
    }
    return {**before, "finetuned": row[metric.name]}


def exported(rows: Sequence[ResultRow], metric: Metric) -> ResultRow | None:
    """What `manticore search` exports: with each seed the hybrid, or a component that is better on validation."""
    hybrid = rows[0]
    alone = [row for row in rows if row["group"] == "component"]
    if not alone:
        return None
    values = {}
    for seed in hybrid["values"]:
        best = max([hybrid, *alone], key=lambda row: metric.sort_key(row["choices"][seed]))
        values[seed] = best["values"][seed]
    return {metric.name: asdict(mean_interval(list(values.values()))), "values": values}


def better_component(rows: Sequence[ResultRow], metric: Metric) -> ResultRow | None:
    """The component that is best on the validation split, in the mean over seeds."""
    alone = [row for row in rows if row["group"] == "component"]
    return max(alone, key=lambda row: metric.sort_key(row["val"]), default=None)


def differences(rows: Sequence[ResultRow], metric: Metric) -> dict[str, dict[str, Any]]:
    """By rival, the hybrid's lead on test, paired over seeds."""
    return {row["name"]: asdict(lead(rows[0], row, metric)) for row in rows[1:]}


def document_leads(rows: Sequence[ResultRow]) -> dict[str, dict[str, Any]]:
    """By rival, the hybrid's lead in bits per byte with its interval over the test's documents, the models held fixed.

    Empty but for text, and without rivals that read other bytes.
    """
    ours, out = rows[0]["documents"], {}
    for row in rows[1:]:
        theirs = row["documents"]
        if ours and theirs and [size for _, size in ours] == [size for _, size in theirs]:
            ahead = [their - our for (our, _), (their, _) in zip(ours, theirs, strict=True)]
            out[row["name"]] = asdict(ratio_interval(ahead, [size for _, size in ours]))
    return out


def lead(ours: ResultRow, theirs: ResultRow, metric: Metric) -> Interval:
    """How much better `ours` is, whichever end of the metric is the better one; positive if it is ahead."""
    held = (ours["values"], theirs["values"])
    return paired_difference(*(held if metric.higher_is_better else held[::-1]))


def path_rows(paths: Mapping[tuple[str, ...], Results], hybrid: ResultRow, metric: Metric) -> list[dict[str, Any]]:
    """Every path with its test score from scratch and the number of seeds whose search selected it."""
    selected = Counter(tuple(seed["path"]) for seed in hybrid["seeds"])
    return [
        {
            "path": list(path),
            metric.name: asdict(mean_interval([metric.value_of(result["test"]["score"]) for result in results])),
            "chosen": selected[path],
        }
        for path, results in paths.items()
    ]


def regret(paths: Sequence[Mapping[str, Any]], hybrid: ResultRow, metric: Metric) -> dict[str, Any] | None:
    """How much worse than the best path the found ones are, every path trained from scratch. 0: the best was found.

    The best is picked by its own test scores, so that noise makes the regret larger in the mean.
    """
    if not paths or not hybrid["seeds"]:
        return None
    scores = {tuple(held["path"]): metric.sort_key(held[metric.name]["mean"]) for held in paths}
    return asdict(mean_interval([max(scores.values()) - scores[tuple(held["path"])] for held in hybrid["seeds"]]))


def correlation(
    paths: Sequence[Mapping[str, Any]], candidates: Sequence[str], hybrid: ResultRow, metric: Metric
) -> dict[str, Any] | None:
    """Rank correlation over all paths: the search's log weight, mean over seeds, and how good they are from scratch."""
    if len(paths) < 2 or not hybrid["seeds"]:
        return None
    scores = []
    for held in paths:
        places = [candidates.index(choice) for choice in held["path"]]
        scores.append(fmean(log_weight(seed["weights"], places) for seed in hybrid["seeds"]))
    found = spearman_interval(scores, [metric.sort_key(held[metric.name]["mean"]) for held in paths])
    return None if found is None else asdict(found)


def log_weight(weights_SK: Sequence[Sequence[float]], places: Sequence[int]) -> float:
    """Log of the product of a path's mixing weights; `places` are its candidates, stage by stage."""
    return math.fsum(math.log(max(row[place], 1e-30)) for row, place in zip(weights_SK, places, strict=True))


def conclusions(tasks: Sequence[Mapping[str, Any]], budget: str) -> list[str]:
    """Sentences: the hybrid against the better component, and against each other rival, over all tasks."""
    against: dict[str, dict[str, Interval]] = {}
    for task in tasks:
        rows, metric = task["tables"][budget], metrics[task["metric"]]
        best = better_component(rows, metric)
        for row in rows[1:]:
            name = "the better component" if row is best else display_name(row)
            if row["group"] != "component" or row is best:
                against.setdefault(name, {})[task["task"]] = lead(rows[0], row, metric)
    return [conclusion("the hybrid", name, held) for name, held in against.items()]


def display_name(row: ResultRow) -> str:
    """A rival in the middle of a sentence."""
    names = {
        "mambaformer": "MambaFormer",
        "striped": "the striped hybrid",
        "uniform mixture": "the uniform mixture",
        "soft hybrid": "the soft hybrid",
        "random path": "a random path",
        "hub": "the paper's hub",
    }
    return names.get(row["name"], str(row["name"]))
