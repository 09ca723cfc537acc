"""The result of a study, `comparison.json`: scores of all models over seeds, by task and budget."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from manticore.errors import UnknownName
from manticore.results.codec import ResultFile
from manticore.results.search import SplitScore
from manticore.training.metrics import Metric
from manticore.utils.statistics import Interval

BUDGETS = ("tokens", "flops")
"""Resources of training. In a table, all models get the same amount of one of them."""

GROUPS = ("hybrid", "component", "designed", "control")
"""Groups of models in a table, in the order in which they are shown."""


@dataclass(frozen=True)
class SeedSearch:
    """The search of one seed.

    Attributes:
        path: for each of the S stages the chosen component, or `skip`.
        weights: final mixing weights, S x K.
        soft, discrete: test score as a mixture, and as the one-hot path before fine-tuning.
    """

    path: tuple[str, ...]
    weights: tuple[tuple[float, ...], ...]
    soft: SplitScore
    discrete: SplitScore


@dataclass(frozen=True)
class ArmResult:
    """One model of a task's table. Scores are by the task's metric, costs are means over the seeds.

    Attributes:
        name: printed name.
        group: one of `GROUPS`.
        lr: learning rate that was chosen on the validation split.
        score: mean test score over the seeds, with its interval.
        seed_scores: test score by seed.
        val_score: mean score on the validation split.
        val_seed_scores: score on the validation split by seed.
        parameters: number of parameters.
        flops_per_token: operations per token of one forward pass.
        train_tokens, train_flops: tokens and operations of training.
        seconds: duration of training.
        path_summary: the chosen paths and how many seeds chose them; None for a model without a path.
        documents: for each test document its bits, mean over the seeds, and its bytes; None for tasks other than text.
        searches: for the hybrid, one for each seed; empty if one of its seeds diverged.
    """

    name: str
    group: str
    lr: float
    score: Interval
    seed_scores: Mapping[str, float]
    val_score: float
    val_seed_scores: Mapping[str, float]
    parameters: int
    flops_per_token: float
    train_tokens: int
    train_flops: float
    seconds: float
    path_summary: str | None = None
    documents: tuple[tuple[float, int], ...] | None = None
    searches: tuple[SeedSearch, ...] = ()


@dataclass(frozen=True)
class GapIntervals:
    """Mean test score of the hybrid as a mixture, as a one-hot path, and after fine-tuning."""

    soft: Interval
    discrete: Interval
    finetuned: Interval


@dataclass(frozen=True)
class ExportedResult:
    """Test score of the best model by validation score: for each seed the hybrid, or a component that is better."""

    score: Interval
    seed_scores: Mapping[str, float]


@dataclass(frozen=True)
class PathResult:
    """A path of the space.

    Attributes:
        path: for each stage the component, or `skip`.
        score: test score of the path trained by itself.
        times_chosen: number of seeds whose search chose it.
    """

    path: tuple[str, ...]
    score: Interval
    times_chosen: int


@dataclass(frozen=True)
class TaskResult:
    """The result on one task.

    Attributes:
        task, metric, kind: name of the task, its metric, kind of its head.
        base: the component that provides embedding, residual stream, norm and head.
        excluded: requested models that are not in the tables, with the reason.
        sequences, train_flops: training budget of each model, in the table of `tokens` and in that of `flops`.
        tables: by budget; the first row is the hybrid.
        heuristics: test score of each heuristic, by name.
        gap: scores before and after discretization; None if a seed of the hybrid diverged.
        exported: None without components.
        paths: all paths of the space; empty if they were not trained.
        regret: how much worse the chosen paths are than the best; None without paths.
        correlation: rank correlation of the searches' scores of all paths with their test scores; None without paths.
        leads: by budget and model, the lead of the hybrid over that model, paired over the seeds.
        document_leads: the same, paired over the documents of the test split; empty for tasks other than text.
    """

    task: str
    metric: Metric
    kind: str
    base: str
    excluded: tuple[str, ...]
    sequences: int
    train_flops: float
    tables: Mapping[str, tuple[ArmResult, ...]]
    heuristics: Mapping[str, float]
    gap: GapIntervals | None
    exported: ExportedResult | None
    paths: tuple[PathResult, ...]
    regret: Interval | None
    correlation: Interval | None
    leads: Mapping[str, Mapping[str, Interval]]
    document_leads: Mapping[str, Mapping[str, Interval]]

    def __post_init__(self) -> None:
        for budget, arms in self.tables.items():
            if budget not in BUDGETS:
                raise ValueError(str(UnknownName("budget", budget, BUDGETS)))
            if not arms:
                raise ValueError(f"the table of {budget} is empty")
            for arm in arms:
                if arm.group not in GROUPS:
                    raise ValueError(f"'{arm.name}': {UnknownName('group', arm.group, GROUPS)}")
        if not self.tables:
            raise ValueError("there is no table")
        scores = [(arm.name, arm.score) for arms in self.tables.values() for arm in arms]
        scores += [(" · ".join(path.path), path.score) for path in self.paths]
        low, high = self.metric.range
        for name, score in scores:
            if not low <= score.mean <= high:
                raise ValueError(f"'{name}': {self.metric.label} of {score.mean:g} is not within {low:g} and {high:g}")

    def table(self, budget: str) -> tuple[ArmResult, ...]:
        """The rows of a table in the order of `GROUPS`. Raises UnknownName if there is no such table."""
        if budget not in self.tables:
            raise UnknownName("budget", budget, self.tables)
        return tuple(sorted(self.tables[budget], key=lambda arm: GROUPS.index(arm.group)))

    def best(self, budget: str) -> float:
        """The best mean score in a table."""
        return self.metric.best_of(arm.score.mean for arm in self.table(budget))

    @property
    def ranked_paths(self) -> tuple[PathResult, ...]:
        """All paths, the best first."""
        return tuple(sorted(self.paths, key=lambda path: -self.metric.sort_key(path.score.mean)))


@dataclass(frozen=True)
class StudyResult(ResultFile):
    """The result of `manticore compare`.

    Attributes:
        version: version of manticore.
        components: names of the components of the hybrids.
        seeds: all seeds.
        learning_rates: the grid that every model's learning rate is chosen from.
        lr_search_seeds: number of seeds with which the learning rate is chosen.
        tasks: the result on each task.
        conclusions: by budget, sentences about all tasks.
        machine: processor, GPU and versions of libraries.
        workers: number of processes that trained in parallel.
        seconds: duration of the last call.
    """

    FILE: ClassVar[str] = "comparison.json"
    FORMAT: ClassVar[int] = 1

    version: str
    components: tuple[str, ...]
    seeds: tuple[int, ...]
    learning_rates: tuple[float, ...]
    lr_search_seeds: int
    tasks: tuple[TaskResult, ...]
    conclusions: Mapping[str, tuple[str, ...]]
    machine: Mapping[str, object]
    workers: int
    seconds: float

    def __post_init__(self) -> None:
        if not self.tasks:
            raise ValueError("tasks are empty")

    @property
    def budgets(self) -> tuple[str, ...]:
        """Budgets for which at least one task has a table."""
        return tuple(budget for budget in BUDGETS if any(budget in task.tables for task in self.tasks))

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Metrics of the tasks, each once."""
        return tuple(dict.fromkeys(task.metric for task in self.tasks))

    def names(self, budget: str) -> tuple[str, ...]:
        """Names of all models in tables of a budget. Raises UnknownName if there is no such table."""
        if budget not in self.budgets:
            raise UnknownName("budget", budget, self.budgets)
        arms = [arm for task in self.tasks for arm in task.tables.get(budget, ())]
        return tuple(dict.fromkeys(arm.name for arm in sorted(arms, key=lambda arm: GROUPS.index(arm.group))))
