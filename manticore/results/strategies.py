"""The result of `manticore bench strategies`, `strategies.json`: searches measured against tables of HybridBench."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from manticore.results.codec import ResultFile
from manticore.training.metrics import Metric
from manticore.utils.statistics import Interval, mean_interval, mean_of_known


@dataclass(frozen=True)
class SearchTrial:
    """One search with one seed on the space of one table.

    Attributes:
        table: name of the table.
        method: strategy, then `+selector` if it is not the default, then settings after `@`.
        seed: of the search.
        path: the selected path.
        regret: how far the path is behind the best one by the table, on test, in the unit of the table.
        tau, rho: Kendall's and Spearman's rank correlation of the method's scores with the table's test scores; None
            where all scores are equal or fewer than two paths have one.
        scored: number of paths that have a score.
        token_share, flop_share: training of the search, as a share of the tokens and operations of the table's budget.
            Training that the selected path keeps is not counted, nor are evaluations on the validation split.
        seconds: of search, evaluations and selection.
    """

    table: str
    method: str
    seed: int
    path: tuple[str, ...]
    regret: float
    tau: float | None
    rho: float | None
    scored: int
    token_share: float
    flop_share: float
    seconds: float


BY_ONE_SEED = "best by one seed"
"""Name of the choice of a path by the validation scores of one seed of all paths."""


@dataclass(frozen=True)
class TableFacts:
    """A table, with the regrets of choices that need no search.

    Attributes:
        task, metric: of the table.
        paths, seeds: number of paths, and of seeds of each.
        best: the best path on test.
        references: regret of each choice without a search: the mean of a random path, the base alone, each donor alone,
            the best path by its mean validation score, and by that of one seed.
        noise: mean standard deviation over seeds of a path's test score, in the unit of the metric.
        seed_tau, seed_rho: rank correlation of one seed of every path with the others; see `SeedAgreement`.
    """

    task: str
    metric: Metric
    paths: int
    seeds: int
    best: tuple[str, ...]
    references: Mapping[str, float]
    noise: float
    seed_tau: float | None = None
    seed_rho: float | None = None


@dataclass(frozen=True)
class StrategyBench(ResultFile):
    """Searches by several methods on several tables.

    Attributes:
        version: of manticore.
        tables: facts by name.
        trials: one for each table, method and seed.
        machine: hardware and versions.
    """

    FILE: ClassVar[str] = "strategies.json"
    FORMAT: ClassVar[int] = 1

    version: str
    tables: Mapping[str, TableFacts]
    trials: tuple[SearchTrial, ...]
    machine: Mapping[str, object]

    @property
    def methods(self) -> list[str]:
        """The methods, in the order of the trials."""
        return list(dict.fromkeys(trial.method for trial in self.trials))

    def of(self, table: str, method: str) -> list[SearchTrial]:
        """The trials of a method on a table."""
        return [trial for trial in self.trials if (trial.table, trial.method) == (table, method)]

    def regret(self, table: str, method: str) -> Interval | None:
        """Mean regret over seeds; None without trials."""
        trials = self.of(table, method)
        return mean_interval([trial.regret for trial in trials]) if trials else None

    def mean(self, table: str, method: str, field: str) -> float | None:
        """Mean of a field of the trials over seeds, of those where it is not None; None without any."""
        return mean_of_known(getattr(trial, field) for trial in self.of(table, method))
