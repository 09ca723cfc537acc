"""The result of a transfer study, `transfer.json`: the path that the proxies choose, and its score on the target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from manticore.results.codec import ResultFile
from manticore.results.search import SplitScore
from manticore.training.metrics import Metric
from manticore.utils.statistics import Interval

TRANSFERRED, BEST = "transferred path", "best path"
"""Names of rows of `TransferResult.arms`."""


@dataclass(frozen=True)
class ProxySearch:
    """The search of one seed on a proxy.

    Attributes:
        path: for each of the S stages the chosen component, or `skip`; None if the search diverged.
        weights: final mixing weights, S x K; None if the search diverged.
        score: score of the fine-tuned hybrid on the validation split.
    """

    path: tuple[str, ...] | None
    weights: tuple[tuple[float, ...], ...] | None
    score: SplitScore


@dataclass(frozen=True)
class ProxyResult:
    """A proxy task.

    Attributes:
        task, metric: its name and its metric.
        base: the component that provides embedding, residual stream, norm and head.
        learning_rates: chosen on the validation split, by name of the model; paths have that of the base alone.
        searches: by seed.
        method: strategy and selector of the searches; empty in results of earlier versions, which used DARTS.
    """

    task: str
    metric: Metric
    base: str
    learning_rates: Mapping[str, float]
    searches: tuple[ProxySearch, ...]
    method: str = ""


@dataclass(frozen=True)
class Target:
    """The target task.

    Attributes:
        task, metric, kind: its name, its metric, kind of its head.
        components: names of its components, in the order of those of the proxies.
        base: the component that provides embedding, residual stream, norm and head.
        learning_rates: chosen on the validation split, by name of the model; paths have that of the base alone.
        heuristics: test score of each heuristic, by name.
    """

    task: str
    metric: Metric
    kind: str
    components: tuple[str, ...]
    base: str
    learning_rates: Mapping[str, float]
    heuristics: Mapping[str, float]


@dataclass(frozen=True)
class TransferPath:
    """A path that was trained from scratch on every task.

    Attributes:
        path: for each stage the target's component, or `skip`.
        proxies: score on the validation split of each proxy.
        search_scores: by proxy, the score of the path by its searches, larger being better, mean over seeds. It is
            computed by the selector, or by a strategy that trains paths: for `largest-weight` it is the log of the
            product of mixing weights, for `evaluated` minus the loss in nats.
        proxy: mean of `proxies`.
        search_score: sum of `search_scores`.
        score: score on the target's test split.
        seed_scores: the same by seed.
    """

    path: tuple[str, ...]
    proxies: Mapping[str, Interval]
    search_scores: Mapping[str, float]
    proxy: Interval
    search_score: float
    score: Interval
    seed_scores: Mapping[str, float]

    @property
    def summary(self) -> str:
        """The path in one line: `mamba · gpt-neo`."""
        return " · ".join(self.path)


@dataclass(frozen=True)
class TransferArm:
    """A model in the table of the target.

    Attributes:
        name: printed name.
        path: for each stage the component; None for a component alone that is no path of the space.
        score: score on the test split.
        seed_scores: the same by seed.
        lead: lead over the base alone, paired over seeds.
        regret: how much better the best path is, paired over seeds; None without a path.
        rank: rank among all paths, from 1; None without a path.
    """

    name: str
    path: tuple[str, ...] | None
    score: Interval
    seed_scores: Mapping[str, float]
    lead: Interval
    regret: Interval | None
    rank: int | None


@dataclass(frozen=True)
class PathWeights:
    """The chosen path and the final mixing weights, S x K, of one search."""

    path: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class TargetSearch:
    """The search on the target itself.

    Attributes:
        path_summary: the chosen paths, and how many seeds chose each.
        score: score of the hybrids on the test split.
        seed_scores: the same by seed.
        lead: lead over the base alone, paired over seeds.
        regret: how much better the best path is than the chosen paths, all trained from scratch.
        correlation: rank correlation over all paths of its scores with the test scores; None if one side is the
            same for all paths.
        searches: by seed.
    """

    path_summary: str
    score: Interval
    seed_scores: Mapping[str, float]
    lead: Interval
    regret: Interval
    correlation: Interval | None
    searches: tuple[PathWeights, ...]


@dataclass(frozen=True)
class ProxyCorrelation:
    """Rank correlations over all paths with the test score on the target; None if one side is the same for all paths.

    Attributes:
        proxy: name of a proxy, or `all proxies` for their mean score and summed search score.
        score: correlation with the score on the proxy.
        search_score: correlation with the score by the proxy's searches.
    """

    proxy: str
    score: Interval | None
    search_score: Interval | None


@dataclass(frozen=True)
class TrainingCost:
    """Training tokens and operations with one seed and one learning rate; `flops` is None if it was not trained."""

    name: str
    tokens: float
    flops: float | None


@dataclass(frozen=True)
class TransferResult(ResultFile):
    """The result of `manticore transfer`.

    Attributes:
        version: version of manticore.
        components: names of the proxies' components.
        proxies: the tasks that were searched.
        target: the task that the path is for.
        path: the path that the searches choose.
        arms: models on the target: `TRANSFERRED` first, the best on the proxies, components alone, `BEST`, the median.
        search: the search on the target itself; None if there was none, or if one of its seeds diverged.
        correlations: one for each proxy, and one for all together, last.
        costs: training cost of each way to choose a path.
        paths: all paths of the space.
        seeds, learning_rates, lr_search_seeds: see `StudyResult`.
        machine, workers, seconds: see `StudyResult`.
    """

    FILE: ClassVar[str] = "transfer.json"
    FORMAT: ClassVar[int] = 2

    version: str
    components: tuple[str, ...]
    proxies: tuple[ProxyResult, ...]
    target: Target
    path: tuple[str, ...]
    arms: tuple[TransferArm, ...]
    search: TargetSearch | None
    correlations: tuple[ProxyCorrelation, ...]
    costs: tuple[TrainingCost, ...]
    paths: tuple[TransferPath, ...]
    seeds: tuple[int, ...]
    learning_rates: tuple[float, ...]
    lr_search_seeds: int
    machine: Mapping[str, object]
    workers: int
    seconds: float

    def __post_init__(self) -> None:
        names = {arm.name for arm in self.arms}
        for name in (TRANSFERRED, BEST, f"{self.target.base} alone"):
            if name not in names:
                raise ValueError(f"arms have no '{name}'")
        for key in ("proxies", "correlations", "paths"):
            if not getattr(self, key):
                raise ValueError(f"{key} are empty")
        if len(self.components) != len(self.target.components):
            raise ValueError(f"{len(self.components)} components, but {len(self.target.components)} of the target")

    @property
    def proxy_names(self) -> tuple[str, ...]:
        """Names of the proxies."""
        return tuple(proxy.task for proxy in self.proxies)

    @property
    def ranked_paths(self) -> tuple[TransferPath, ...]:
        """All paths, the best on the target first."""
        return tuple(sorted(self.paths, key=lambda path: -self.target.metric.sort_key(path.score.mean)))

    def arm(self, name: str) -> TransferArm:
        """The model of that name."""
        return next(arm for arm in self.arms if arm.name == name)
