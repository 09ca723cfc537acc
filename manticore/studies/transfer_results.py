"""From the trials of a transfer study to its result: the chosen path, its regret, rank correlations, costs.

The searches on the proxies, by any strategy and selector, compute a score for every path. The path with the largest sum
over all proxies of the mean scores over seeds is chosen; for mixing weights that is the path with the largest product.
All paths are trained, so it is the maximum of a list. A second choice needs no search: the path with the best mean
validation score on the proxies. Neither uses results on the target.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from manticore.errors import ManticoreError
from manticore.experiment.model_selection import selector_of
from manticore.results.search import SplitScore
from manticore.results.transfer import (
    BEST,
    TRANSFERRED,
    PathWeights,
    ProxyCorrelation,
    ProxyResult,
    ProxySearch,
    Target,
    TargetSearch,
    TrainingCost,
    TransferArm,
    TransferPath,
)
from manticore.studies.aggregate import by_seed, lead, path_summary, regret
from manticore.studies.scheduler import Results
from manticore.studies.search_scores import mean_search_scores
from manticore.studies.transfer import TaskStudy
from manticore.tasks.task import Task
from manticore.utils.statistics import mean_interval, spearman_interval


def proxy_result(proxy: TaskStudy) -> ProxyResult:
    """The learning rates and the searches on one proxy."""
    metric = proxy.study.metric
    searches = tuple(
        ProxySearch(
            path=tuple(result["path"]) if result["path"] else None,
            weights=tuple(map(tuple, result["weights"])) if result["weights"] else None,
            score=SplitScore.of(result["score"], metric),
        )
        for result in proxy.results["hybrid"]
    )
    recipe = proxy.study.recipe
    method = f"{recipe.search.strategy}, {selector_of(recipe)}"
    return ProxyResult(proxy.task, metric, proxy.base, chosen_learning_rates(proxy), searches, method)


def target_info(target: TaskStudy, task: Task) -> Target:
    """Components, base, learning rates and heuristics of the target."""
    return Target(
        task=target.task,
        metric=target.study.metric,
        kind=task.kind,
        components=target.study.space.names,
        base=target.base,
        learning_rates=chosen_learning_rates(target),
        heuristics=task.heuristic_baselines(),
    )


def chosen_learning_rates(study: TaskStudy) -> dict[str, float]:
    """Learning rates by name of the model; paths have that of the base alone."""
    names = ["hybrid", *(f"{name} alone" for name in study.study.space.names)]
    return {name: study.study.learning_rates[name] for name in names if name in study.study.learning_rates}


def path_scores(proxies: Sequence[TaskStudy], target: TaskStudy) -> tuple[TransferPath, ...]:
    """Every path: score and search score on each proxy, their mean and sum, and the test score on the target."""
    searched = [search_scores(proxy) for proxy in proxies]
    paths = []
    for index, path in enumerate(target.study.all_paths()):
        scores = {proxy.task: _val_scores(proxy, proxy.paths[index]) for proxy in proxies}
        test_scores = _test_scores(target, target.paths[index])
        paths.append(
            TransferPath(
                path=tuple(path),
                proxies={task: mean_interval(values) for task, values in scores.items()},
                search_scores={proxy.task: of_paths[index] for proxy, of_paths in zip(proxies, searched, strict=True)},
                proxy=mean_interval([fmean(values) for values in zip(*scores.values(), strict=True)]),
                search_score=math.fsum(of_paths[index] for of_paths in searched),
                score=mean_interval(list(test_scores.values())),
                seed_scores=test_scores,
            )
        )
    return tuple(paths)


def search_scores(study: TaskStudy) -> list[float]:
    """See `mean_search_scores`. Raises ManticoreError if all searches diverged."""
    scores = mean_search_scores(study.results["hybrid"], study.study.space.choices)
    if not scores:
        raise ManticoreError(f"the search on {study.task} diverged with every seed; try lower study.learning_rates")
    return scores


def transfer_arms(paths: Sequence[TransferPath], target: TaskStudy) -> tuple[TransferArm, ...]:
    """Models on the target: the transferred path, the best on the proxies, components alone, the best, the median.

    The best path is selected by its own test score, so that noise increases the mean regret. For an even number of
    paths the median is the better one of the two in the middle.
    """
    metric = target.study.metric
    ranked = sorted(paths, key=lambda path: -metric.sort_key(path.score.mean))
    base = base_path(paths, target)
    named = {
        TRANSFERRED: chosen_path(paths),
        "best on the proxies": max(paths, key=lambda path: metric.sort_key(path.proxy.mean)),
        f"{target.base} alone": base,
        BEST: ranked[0],
        "median path": ranked[(len(ranked) - 1) // 2],
    }
    arms = [
        TransferArm(
            name=name,
            path=path.path,
            score=path.score,
            seed_scores=path.seed_scores,
            lead=lead(path.seed_scores, base.seed_scores, metric),
            regret=lead(ranked[0].seed_scores, path.seed_scores, metric),
            rank=1 + sum(metric.sort_key(rival.score.mean) > metric.sort_key(path.score.mean) for rival in paths),
        )
        for name, path in named.items()
    ]
    components = zip(target.study.space.names, target.components, strict=True)
    alone = [_component_arm(name, results, base, target) for name, results in components if name != target.base]
    return (*arms[:3], *alone, *arms[3:])


def _component_arm(name: str, results: Results, base: TransferPath, target: TaskStudy) -> TransferArm:
    """A component alone with itself as base, which is no path of the space."""
    scores = _test_scores(target, results)
    ahead = lead(scores, base.seed_scores, target.study.metric)
    return TransferArm(f"{name} alone", None, mean_interval(list(scores.values())), scores, ahead, None, None)


def base_path(paths: Sequence[TransferPath], target: TaskStudy) -> TransferPath:
    """The path of the base alone."""
    return next(path for path in paths if set(path.path) == {target.base})


def chosen_path(paths: Sequence[TransferPath]) -> TransferPath:
    """The path that the searches on the proxies choose."""
    return max(paths, key=lambda path: path.search_score)


def target_search(paths: Sequence[TransferPath], target: TaskStudy) -> TargetSearch | None:
    """The search on the target itself; None if there was none, or if one of its seeds diverged."""
    results, metric = target.results.get("hybrid"), target.study.metric
    if not results or not all(result["weights"] for result in results):
        return None
    searches = tuple(PathWeights(tuple(result["path"]), tuple(map(tuple, result["weights"]))) for result in results)
    test_scores, path_means = _test_scores(target, results), {path.path: path.score.mean for path in paths}
    below, summary = regret(path_means, [search.path for search in searches], metric), path_summary(results)
    assert below is not None
    assert summary is not None
    return TargetSearch(
        path_summary=summary,
        score=mean_interval(list(test_scores.values())),
        seed_scores=test_scores,
        lead=lead(test_scores, base_path(paths, target).seed_scores, metric),
        regret=below,
        correlation=spearman_interval(search_scores(target), [metric.sort_key(score) for score in path_means.values()]),
        searches=searches,
    )


def correlations(paths: Sequence[TransferPath], target: TaskStudy) -> tuple[ProxyCorrelation, ...]:
    """Rank correlations over all paths of test scores with proxy scores, and with the scores of the searches.

    One for each proxy, and one for their mean and sum, last.
    """
    metric = target.study.metric
    test = [metric.sort_key(path.score.mean) for path in paths]
    single = [
        ProxyCorrelation(
            proxy,
            spearman_interval([metric.sort_key(path.proxies[proxy].mean) for path in paths], test),
            spearman_interval([path.search_scores[proxy] for path in paths], test),
        )
        for proxy in paths[0].proxies
    ]
    together = ProxyCorrelation(
        "all proxies",
        spearman_interval([metric.sort_key(path.proxy.mean) for path in paths], test),
        spearman_interval([path.search_score for path in paths], test),
    )
    return (*single, together)


def costs(proxies: Sequence[TaskStudy], target: TaskStudy) -> tuple[TrainingCost, ...]:
    """Training tokens and operations of each way to select a path, for one seed and one learning rate, mean over seeds.

    A search on the target that was not run would see as many tokens as a path does; its operations are not known.
    """
    search = target.results.get("hybrid")
    on_target = _cost("one search on the target", [search] if search else target.paths[:1])
    return (
        _cost("one search on each proxy", [proxy.results["hybrid"] for proxy in proxies]),
        _cost("every path on each proxy", [results for proxy in proxies for results in proxy.paths]),
        on_target if search else TrainingCost(on_target.name, on_target.tokens, None),
        _cost("every path on the target", target.paths),
    )


def _cost(name: str, models: Sequence[Results]) -> TrainingCost:
    tokens, flops = (
        math.fsum(fmean(result[key] for result in results) for results in models) for key in ("tokens", "flops")
    )
    return TrainingCost(name, tokens, flops)


def _test_scores(study: TaskStudy, results: Results) -> dict[str, float]:
    """Test score by seed."""
    return by_seed(study.study.metric.value_of(result["test"]["score"]) for result in results)


def _val_scores(study: TaskStudy, results: Results) -> list[float]:
    return [study.study.metric.value_of(result["score"]) for result in results]
