"""From the results of trials to those of a study: means and intervals over seeds, leads, regret, conclusions.

Every interval is over the seeds, and differences are paired over them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from manticore.report.study.summary import conclusion
from manticore.results.search import SplitScore
from manticore.results.study import ArmResult, ExportedResult, GapIntervals, PathResult, SeedSearch, TaskResult
from manticore.studies.search_scores import mean_search_scores
from manticore.studies.study import Study, StudyOutcome
from manticore.tasks.task import Task
from manticore.training.metrics import Metric
from manticore.utils.statistics import Interval, mean_interval, paired_difference, ratio_interval, spearman_interval

TrialResults = Sequence[Mapping[str, Any]]
"""Results of one model's trials, one for each seed from 0, with those of its test under `test`."""

Path = tuple[str, ...]
"""For each stage the component, or `skip`."""

DISPLAY_NAMES = {
    "mambaformer": "MambaFormer",
    "striped": "the striped hybrid",
    "uniform mixture": "the uniform mixture",
    "soft hybrid": "the soft hybrid",
    "random path": "a random path",
    "hub": "the paper's hub",
}
"""Names of rivals within a sentence, where they differ from those in a table."""


def task_result(study: Study, outcome: StudyOutcome, task: Task, excluded: Iterable[str]) -> TaskResult:
    """The result on one task; `excluded` are the baselines that could not take part, with the reason."""
    metric, budgets = study.metric, study.recipe.study.budgets
    tables = study_tables(study, outcome)
    hybrid = tables["tokens"][0]
    paths = path_results(outcome.paths, hybrid.searches, metric)
    scores = {path.path: path.score.mean for path in paths}
    searched = mean_search_scores(outcome.results["tokens"]["hybrid"], study.space.choices)
    return TaskResult(
        task=task.name,
        metric=metric,
        kind=task.kind,
        base=outcome.base,
        excluded=tuple(excluded),
        sequences=study.steps * study.recipe.finetune.batch_size,
        train_flops=outcome.train_flops,
        tables={budget: tables[budget] for budget in budgets},
        heuristics=task.heuristic_baselines(),
        gap=discretization_gap(hybrid, metric),
        exported=exported(tables["tokens"], metric),
        paths=paths,
        regret=regret(scores, [search.path for search in hybrid.searches], metric),
        correlation=correlation(scores, searched if hybrid.searches else (), metric),
        leads={budget: leads(tables[budget], metric) for budget in budgets},
        document_leads={budget: document_leads(tables[budget]) for budget in budgets},
    )


def study_tables(study: Study, outcome: StudyOutcome) -> dict[str, tuple[ArmResult, ...]]:
    """The rows of each budget's table, the hybrid first."""
    return {
        budget: tuple(
            arm_result(arm.name, arm.group, study.learning_rates[arm.name], results[arm.name], study.metric)
            for arm in outcome.arms
        )
        for budget, results in outcome.results.items()
    }


def arm_result(name: str, group: str, lr: float, results: TrialResults, metric: Metric) -> ArmResult:
    """One model of a task's table.

    Args:
        name, group: see `Arm`.
        lr: the learning rate.
        results: of its trials.
        metric: of the task.
    """
    scores = [metric.value_of(result["test"]["score"]) for result in results]
    val_scores = [metric.value_of(result["score"]) for result in results]
    return ArmResult(
        name=name,
        group=group,
        lr=lr,
        score=mean_interval(scores),
        seed_scores=by_seed(scores),
        val_score=fmean(val_scores),
        val_seed_scores=by_seed(val_scores),
        parameters=round(fmean(result["parameters"] for result in results)),
        flops_per_token=fmean(result["flops_per_token"] for result in results),
        train_tokens=round(fmean(result["tokens"] for result in results)),
        train_flops=fmean(result["flops"] for result in results),
        seconds=fmean(result["seconds"] for result in results),
        path_summary=path_summary(results),
        documents=_documents(results),
        searches=_searches(results, metric) if group == "hybrid" else (),
    )


def by_seed(scores: Iterable[float]) -> dict[str, float]:
    """Scores by the name of their seed."""
    return {str(seed): score for seed, score in enumerate(scores)}


def path_summary(results: TrialResults) -> str | None:
    """The paths with the number of seeds that chose each: `mamba · gpt-neo (2 of 3 seeds)`; None without paths."""
    paths = Counter(" · ".join(result["path"]) for result in results if result["path"])
    counted = [f"{path} ({count} of {len(results)} seeds)" for path, count in paths.most_common()]
    return ", ".join(counted) or None


def _searches(results: TrialResults, metric: Metric) -> tuple[SeedSearch, ...]:
    """The searches of all seeds; empty if one of them diverged."""
    if not all(result["path"] for result in results):
        return ()
    return tuple(
        SeedSearch(
            path=tuple(result["path"]),
            weights=tuple(map(tuple, result["weights"])),
            soft=SplitScore.of(result["test"]["before"]["soft"], metric),
            discrete=SplitScore.of(result["test"]["before"]["discrete"], metric),
        )
        for result in results
    )


def _documents(results: TrialResults) -> tuple[tuple[float, int], ...] | None:
    """Bits (mean over the seeds) and bytes of each test document; None for tasks other than text."""
    by_result = [result["test"].get("documents") for result in results]
    if not all(by_result):
        return None
    return tuple((fmean(bits for bits, _ in parts), parts[0][1]) for parts in zip(*by_result, strict=True))


def discretization_gap(hybrid: ArmResult, metric: Metric) -> GapIntervals | None:
    """Test score of the hybrid as a mixture, as a one-hot path, and fine-tuned; None if a seed diverged."""
    if not hybrid.searches:
        return None
    scores = [(search.soft.value, search.discrete.value) for search in hybrid.searches]
    soft, discrete = (mean_interval([metric.clip(value) for value in values]) for values in zip(*scores, strict=True))
    return GapIntervals(soft, discrete, hybrid.score)


def exported(arms: Sequence[ArmResult], metric: Metric) -> ExportedResult | None:
    """By seed the test score of the hybrid, or of a component that is better on the validation split.

    None without components.
    """
    components = [arm for arm in arms if arm.group == "component"]
    if not components:
        return None
    scores = {}
    for seed in arms[0].seed_scores:
        best = max([arms[0], *components], key=lambda arm: metric.sort_key(arm.val_seed_scores[seed]))
        scores[seed] = best.seed_scores[seed]
    return ExportedResult(mean_interval(list(scores.values())), scores)


def better_component(arms: Sequence[ArmResult], metric: Metric) -> ArmResult | None:
    """The component with the best mean score on the validation split; None without components."""
    components = [arm for arm in arms if arm.group == "component"]
    return max(components, key=lambda arm: metric.sort_key(arm.val_score), default=None)


def leads(arms: Sequence[ArmResult], metric: Metric) -> dict[str, Interval]:
    """By rival, the lead of the hybrid, which is the first arm, on the test split."""
    return {arm.name: lead(arms[0].seed_scores, arm.seed_scores, metric) for arm in arms[1:]}


def lead(scores: Mapping[str, float], rival_scores: Mapping[str, float], metric: Metric) -> Interval:
    """The lead of scores by seed over those of a rival, paired over the seeds; positive if they are better."""
    pair = (scores, rival_scores)
    return paired_difference(*(pair if metric.higher_is_better else pair[::-1]))


def document_leads(arms: Sequence[ArmResult]) -> dict[str, Interval]:
    """By rival, the hybrid's lead in bits per byte with its interval over the documents of the test split.

    The models are fixed, so the interval does not include the variation over seeds. Rivals that are scored on other
    bytes are left out. Empty for tasks other than text.
    """
    hybrid, intervals = arms[0].documents, {}
    for arm in arms[1:]:
        if hybrid and arm.documents and _sizes(hybrid) == _sizes(arm.documents):
            ahead = [rival - bits for (bits, _), (rival, _) in zip(hybrid, arm.documents, strict=True)]
            intervals[arm.name] = ratio_interval(ahead, _sizes(hybrid))
    return intervals


def _sizes(documents: Sequence[tuple[float, int]]) -> list[int]:
    return [size for _, size in documents]


def path_results(
    paths: Mapping[Path, TrialResults], searches: Sequence[SeedSearch], metric: Metric
) -> tuple[PathResult, ...]:
    """Every path with its test score from scratch, and the number of seeds whose search chose it."""
    chosen = Counter(search.path for search in searches)
    scores = {
        path: mean_interval([metric.value_of(result["test"]["score"]) for result in results])
        for path, results in paths.items()
    }
    return tuple(PathResult(path, score, chosen[path]) for path, score in scores.items())


def regret(scores: Mapping[Path, float], chosen: Sequence[Path], metric: Metric) -> Interval | None:
    """How much worse than the best path the chosen paths are, all trained from scratch. 0: every seed chose the best.

    The best path is selected by its own test score, so that noise increases the mean regret.

    Args:
        scores: test score by path.
        chosen: the path of each seed.
        metric: of the scores.

    Returns None without paths, or if a seed diverged.
    """
    if not scores or not chosen:
        return None
    keys = {path: metric.sort_key(score) for path, score in scores.items()}
    return mean_interval([max(keys.values()) - keys[path] for path in chosen])


def correlation(scores: Mapping[Path, float], search_scores: Sequence[float], metric: Metric) -> Interval | None:
    """Rank correlation over all paths of the searches' scores with the score from scratch.

    Args:
        scores: test score by path.
        search_scores: the searches' scores of the same paths in the same order, larger being better; may be empty.
        metric: of the test scores.

    Returns None for less than two paths, without search scores, or if one side is the same for all paths.
    """
    if len(scores) < 2 or not search_scores:
        return None
    return spearman_interval(search_scores, [metric.sort_key(score) for score in scores.values()])


def conclusions(tasks: Sequence[TaskResult], budget: str) -> tuple[str, ...]:
    """Sentences over all tasks: the hybrid against the better component, and against each other rival."""
    leads_by_rival: dict[str, dict[str, Interval]] = {}
    for task in tasks:
        hybrid, *rivals = task.tables[budget]
        best = better_component(rivals, task.metric)
        for rival in rivals:
            if rival.group == "component" and rival is not best:
                continue
            name = "the better component" if rival is best else DISPLAY_NAMES.get(rival.name, rival.name)
            interval = lead(hybrid.seed_scores, rival.seed_scores, task.metric)
            leads_by_rival.setdefault(name, {})[task.task] = interval
    return tuple(conclusion("the hybrid", name, intervals) for name, intervals in leads_by_rival.items())
