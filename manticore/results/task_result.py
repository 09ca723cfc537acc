"""One task of a study as plain data: who took part and how well they did. Knows nothing of how it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manticore.errors import UnknownName
from manticore.results.plain import called, intervals, mapping, measured, number_or_none, numbers, reading, texts
from manticore.training.metrics import ACCURACY, Metric, metrics
from manticore.utils.statistics import Interval

FILE = "comparison.json"
GROUPS = ("hybrid", "component", "designed", "control", "guess")
BUDGETS = ("tokens", "flops")
"""What all baselines are given the same amount of."""
COSTS = ("parameters", "flops_per_token", "train_tokens", "train_flops", "seconds", "lr")


@dataclass(frozen=True)
class ArmResult:
    """One model at one task.

    Attributes:
        name: as it is printed.
        group: one of `GROUPS`.
        reached: mean over the seeds, with its interval.
        seeds: what each seed reached.
        costs: by the names in `COSTS`; None for what it does not have.
        path: what the search chose, in words; None for what has no path.
        metric: what it is measured by.
    """

    name: str
    group: str
    reached: Interval
    seeds: Mapping[str, float]
    costs: Mapping[str, float | None]
    path: str | None
    metric: Metric

    @classmethod
    def of(cls, held: Mapping[str, Any], metric: Metric, where: Path | str = FILE) -> ArmResult:
        """From a row of comparison.json. Raises BadFile for what is not one."""
        with reading(where, called("row", held, "name")):
            return cls(
                name=str(held["name"]),
                group=str(held["group"]),
                reached=measured(held[metric.name], metric),
                seeds=numbers(held.get("values")),
                costs={name: number_or_none(held.get(name)) for name in COSTS},
                path=None if held.get("path") is None else str(held["path"]),
                metric=metric,
            )

    @classmethod
    def guess(cls, name: str, value: float, metric: Metric) -> ArmResult:
        """What needs no model and costs nothing."""
        return cls(name, "guess", Interval(value, None, None, 1), {}, dict.fromkeys(COSTS), None, metric)

    @property
    def score(self) -> str:
        """`63.0 ± 1.5 %`."""
        return self.metric.format(self.reached.mean, self.reached.margin, unit=False)

    @property
    def rank(self) -> int:
        """The place of its group."""
        return GROUPS.index(self.group) if self.group in GROUPS else GROUPS.index("guess") - 1


@dataclass(frozen=True)
class PathResult:
    """A path of the space that was trained by itself, and how many seeds' searches chose it."""

    path: tuple[str, ...]
    reached: Interval
    chosen: int

    @classmethod
    def of(cls, held: Mapping[str, Any], metric: Metric) -> PathResult:
        """From a path of comparison.json."""
        return cls(texts(held["path"]), measured(held[metric.name], metric), int(held["chosen"]))


@dataclass(frozen=True)
class TaskResult:
    """One task: who stands where under each budget, and how good the search was.

    Attributes:
        task: its name.
        metric: what everybody is measured by.
        base: the component that lends embedding and head, if it is said.
        absent: who was asked for and could not take part, in words.
        sequences, train_flops: what everybody was given in the tables of tokens and of FLOPs, if it is said.
        tables: by budget, the baselines in the order of `GROUPS`, guesses last.
        differences: by budget and opponent, the hybrid's lead, over seeds.
        document_leads: the same over the test's documents, with the models held fixed; empty but for text.
        gap: what the hybrid reaches `soft`, `discrete` and `finetuned`, as far as it was measured.
        exported: what searches hand over: with each seed the hybrid, or a component that is better on
            validation.
        paths: the whole space, best path first; empty if it was not trained.
        regret: how much worse the found paths are than the best one.
        correlation: between the search's scores of paths and how good they are.
    """

    task: str
    metric: Metric
    base: str | None
    absent: tuple[str, ...]
    sequences: float | None
    train_flops: float | None
    tables: Mapping[str, tuple[ArmResult, ...]]
    differences: Mapping[str, Mapping[str, Interval]]
    document_leads: Mapping[str, Mapping[str, Interval]]
    gap: Mapping[str, Interval]
    exported: Interval | None
    paths: tuple[PathResult, ...]
    regret: Interval | None
    correlation: Interval | None

    @classmethod
    def of(cls, held: Mapping[str, Any], where: Path | str = FILE) -> TaskResult:
        """From a task of comparison.json. Raises BadFile for what is not one."""
        with reading(where, called("task", held, "task")):
            metric = metrics[str(held.get("metric", ACCURACY.name))]
            guesses = [ArmResult.guess(name, value, metric) for name, value in numbers(held.get("guesses")).items()]
            tables = {
                budget: tuple(
                    sorted([*(ArmResult.of(row, metric, where) for row in rows), *guesses], key=lambda one: one.rank)
                )
                for budget, rows in mapping(held["tables"]).items()
                if budget in BUDGETS and rows
            }
            paths = [PathResult.of(path, metric) for path in held.get("paths") or ()]
            lone = intervals({name: held.get(name) for name in ("regret", "correlation")})
            handed = intervals({"exported": mapping(held.get("exported")).get(metric.name)})
            return cls(
                task=str(held["task"]),
                metric=metric,
                base=None if held.get("base") is None else str(held["base"]),
                absent=texts(held.get("absent")),
                sequences=number_or_none(held.get("sequences")),
                train_flops=number_or_none(held.get("train_flops")),
                tables=tables,
                differences={name: intervals(leads) for name, leads in mapping(held.get("differences")).items()},
                document_leads={name: intervals(leads) for name, leads in mapping(held.get("document_leads")).items()},
                gap=intervals(held.get("gap")),
                exported=handed.get("exported"),
                paths=tuple(sorted(paths, key=lambda tried: -metric.sort_key(tried.reached.mean))),
                regret=lone.get("regret"),
                correlation=lone.get("correlation"),
            )

    def table(self, budget: str) -> tuple[ArmResult, ...]:
        """Who stands in the table of a budget. Raises UnknownName if there is no such table."""
        if budget not in self.tables:
            raise UnknownName("budget", budget, self.tables)
        return self.tables[budget]

    def best(self, budget: str) -> float:
        """The best mean of all that are no guess."""
        return self.metric.best_of(one.reached.mean for one in self.table(budget) if one.group != "guess")

    @property
    def guesses(self) -> tuple[ArmResult, ...]:
        """What needs no model."""
        return tuple(one for one in next(iter(self.tables.values()), ()) if one.group == "guess")
