"""A transfer with made-up trial results: the base, what is read when, and every number of the result."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from statistics import fmean, median_high
from typing import Any

import pytest

from manticore.config.loading import load_recipe
from manticore.errors import ManticoreError
from manticore.nas.choices import Choices
from manticore.nas.selection.solver import Problem
from manticore.results.transfer import TrainingCost, TransferPath
from manticore.studies.study import Study
from manticore.studies.transfer import TaskStudy, run_transfer
from manticore.studies.transfer_results import (
    chosen_path,
    correlations,
    costs,
    path_scores,
    target_search,
    transfer_arms,
)
from manticore.studies.trial import Trial

NAMES = ("proxy one", "proxy two", "target")
WEIGHTS = {
    "proxy one": [[[0.9, 0.1], [0.4, 0.6]], [[0.6, 0.4], [0.2, 0.8]]],
    "proxy two": [[[0.2, 0.8], [0.3, 0.7]], [[0.5, 0.5], [0.9, 0.1]]],
    "target": [[[0.7, 0.3], [0.7, 0.3]], [[0.7, 0.3], [0.3, 0.7]]],
}
TARGET_COMPONENTS = [{"source": "gpt-neo", "name": "attending"}, {"source": "mamba", "name": "scanning"}]


def study(name: str, components: list[Any], **space: Any) -> Study:
    keys = {
        "task": {"name": "mad-compression", "preset": "cpu"},
        "space": {"components": components, "stages": 2, **space},
        "study": {"seeds": 2, "learning_rates": [0.001, 0.002]},
    }
    return Study(load_recipe("search/mad", keys).recipe, name)


def accuracy(trial: Trial) -> float:
    """The first component is better on proxy one, the second on proxy two by more; the higher rate is better."""
    attention = [choice in ("gpt-neo", "attending") for choice in trial["config"].get("path", ())]
    gain = {"proxy one": 0.02, "proxy two": -0.05, "target": 0.03}[trial["data"]]
    order = 0.01 if attention == [False, True] else 0.0
    return 0.5 + gain * sum(attention) + order + 0.004 * trial["recipe"]["run"]["seed"] + 10 * learning_rate(trial)


def learning_rate(trial: Trial) -> float:
    return float(trial["recipe"]["finetune"]["weights"]["lr"])


def log_weights(weights_SK: list[list[float]]) -> list[float | None]:
    """The scores of the selector `largest-weight`, in the order of `Choices.paths`."""
    columns = itertools.product(range(len(weights_SK[0])), repeat=len(weights_SK))
    return [sum(math.log(row[column]) for row, column in zip(weights_SK, path, strict=True)) for path in columns]


class FakeRunner:
    """Returns made-up results and records the trials of every round."""

    def __init__(self, accuracy: Callable[[Trial], float] = accuracy) -> None:
        self.accuracy, self.rounds = accuracy, list[list[Trial]]()

    def run(self, trials: list[Trial]) -> list[dict[str, Any]]:
        self.rounds.append(trials)
        return [self._result(trial) for trial in trials]

    def _result(self, trial: Trial) -> dict[str, Any]:
        hybrid, tested = trial["arm"] == "hybrid", trial["split"] == "test"
        score = {"accuracy": self.accuracy(trial) - (0.1 if tested else 0.0), "loss": 1.0, "count": 40}
        if tested:
            return {"score": score, "before": {"soft": score, "discrete": score} if hybrid else {}}
        path = ["attending", "scanning"] if hybrid else None
        weights = WEIGHTS[trial["data"]][trial["recipe"]["run"]["seed"]] if hybrid else None
        spent = {"tokens": 1000, "flops": 5e6 if hybrid else 3e6, "seconds": 1.0}
        found = {"path": path, "weights": weights, "scores": log_weights(weights) if weights else None}
        return {"score": score, "parameters": 10, "flops_per_token": 2.0, **found, **spent}


def run_all(search: bool = True, runner: FakeRunner | None = None, **space: Any) -> list[TaskStudy]:
    """The studies of both proxies and of the target, with made-up results."""
    models = ["gpt-neo", "mamba"]
    studies = [study(name, TARGET_COMPONENTS if name == "target" else models, **space) for name in NAMES]
    return run_transfer(NAMES, studies, search, (runner or FakeRunner()).run)


def test_the_base_has_the_best_mean_over_the_proxies_and_one_index_on_all_tasks() -> None:
    assert [task.base for task in run_all()] == ["mamba", "mamba", "scanning"]
    models = ["gpt-neo", "mamba"]
    studies = [study(name, models, base="gpt-neo") for name in NAMES[:2]] + [study("target", TARGET_COMPONENTS)]
    assert [task.base for task in run_transfer(NAMES, studies, False, FakeRunner().run)] == [
        "gpt-neo",
        "gpt-neo",
        "attending",
    ]


def test_only_the_test_split_of_the_target_is_read_and_only_after_all_choices() -> None:
    runner = FakeRunner()
    run_all(runner=runner)
    *before, last = runner.rounds
    assert {trial["split"] for trials in before for trial in trials} == {"val"}
    assert {(trial["split"], trial["data"]) for trial in last} == {("test", "target")}
    trained = [trial for trial in before[-1] if trial["data"] == "target"]
    assert [{**trial, "split": "val"} for trial in last] == trained


def test_paths_have_the_learning_rate_of_the_base_alone_and_every_seed() -> None:
    runner = FakeRunner(lambda trial: accuracy(trial) - (20 * learning_rate(trial) if trial["data"] == NAMES[0] else 0))
    tasks = run_all(runner=runner)
    assert [task.study.learning_rates[f"{task.base} alone"] for task in tasks] == [0.001, 0.002, 0.002]
    for task in tasks:
        trials = [
            trial for trial in runner.rounds[2] if trial["data"] == task.study.data and "steps" in trial["config"]
        ]
        paths = [trial for trial in trials if trial["config"]["base"] == task.base]
        assert {learning_rate(trial) for trial in paths} == {task.study.learning_rates[f"{task.base} alone"]}
        assert len({(tuple(trial["config"]["path"]), trial["recipe"]["run"]["seed"]) for trial in paths}) == 4 * 2


def test_the_target_is_searched_only_on_request() -> None:
    runner = FakeRunner()
    *proxies, target = run_all(search=False, runner=runner)
    searched = {trial["data"] for trials in runner.rounds for trial in trials if trial["arm"] == "hybrid"}
    assert searched == set(NAMES[:2])
    assert target_search(path_scores(proxies, target), target) is None
    assert costs(proxies, target)[2] == TrainingCost("one search on the target", tokens=1000, flops=None)


def test_the_chosen_path_is_the_best_path_of_the_summed_scores() -> None:
    *proxies, target = run_all()
    path = chosen_path(path_scores(proxies, target))
    total = [
        [sum(fmean(math.log(seed[stage][index]) for seed in WEIGHTS[name]) for name in NAMES[:2]) for index in range(2)]
        for stage in range(2)
    ]
    chosen = Problem(Choices.free(NAMES[:2], 2), total).best()
    assert chosen is not None
    assert path.path == tuple(target.study.space.names[index] for index in chosen)
    assert path.search_score == pytest.approx(sum(total[stage][chosen[stage]] for stage in range(2)))
    assert path.search_score == pytest.approx(sum(path.search_scores.values()))


def test_scores_of_proxies_are_validation_scores_and_those_of_the_target_test_scores() -> None:
    *proxies, target = run_all()
    path = path_scores(proxies, target)[1]
    assert path.path == ("attending", "scanning")
    assert path.seed_scores == pytest.approx({"0": 0.5 + 0.03 + 0.02 - 0.1, "1": 0.5 + 0.03 + 0.02 + 0.004 - 0.1})
    assert path.score.mean == pytest.approx(fmean(path.seed_scores.values()))
    assert path.proxies["proxy one"].mean == pytest.approx(0.5 + 0.02 + 0.02 + 0.002)
    assert path.proxies["proxy two"].mean == pytest.approx(0.5 - 0.05 + 0.02 + 0.002)
    assert path.proxy.mean == pytest.approx(fmean(score.mean for score in path.proxies.values()))
    assert path.proxy.count == 2


def test_arms_are_made_from_the_paths() -> None:
    *proxies, target = run_all()
    paths = path_scores(proxies, target)
    arms = {arm.name: arm for arm in transfer_arms(paths, target)}
    means = {path.path: path.score.mean for path in paths}
    best = max(means.values())
    assert list(arms) == [
        "transferred path", "best on the proxies", "scanning alone", "attending alone", "best path", "median path",
    ]  # fmt: skip
    for arm in arms.values():
        assert arm.score.mean == pytest.approx(fmean(arm.seed_scores.values()))
        assert arm.lead.mean == pytest.approx(arm.score.mean - means["scanning", "scanning"])
        if arm.path is not None:
            assert arm.regret is not None
            assert arm.regret.mean == pytest.approx(best - means[arm.path])
            assert arm.rank == 1 + sum(mean > arm.score.mean for mean in means.values())
    assert arms["median path"].score.mean == median_high(means.values())
    assert arms["best path"].rank == 1
    assert [name for name, arm in arms.items() if arm.path is None] == ["attending alone"]
    assert arms["best on the proxies"].path == max(paths, key=lambda path: path.proxy.mean).path


def test_correlations_are_of_ranks_over_all_paths() -> None:
    *proxies, target = run_all()
    paths = path_scores(proxies, target)
    by_proxy = {row.proxy: row for row in correlations(paths, target)}
    assert list(by_proxy) == ["proxy one", "proxy two", "all proxies"]
    for name, row in by_proxy.items():
        together = name == "all proxies"
        scores = [path.proxy.mean if together else path.proxies[name].mean for path in paths]
        weights = [path.search_score if together else path.search_scores[name] for path in paths]
        assert row.score is not None
        assert row.search_score is not None
        assert row.score.mean == pytest.approx(by_differences(scores, paths))
        assert row.search_score.mean == pytest.approx(by_differences(weights, paths))
        assert row.score.count == len(paths) == 4
    assert by_proxy["proxy one"].score is not None
    assert by_proxy["proxy one"].score.mean == pytest.approx(1.0)


def by_differences(scores: list[float], paths: Sequence[TransferPath]) -> float:
    """Spearman's own formula, `1 - 6 sum d^2 / (n (n^2 - 1))`, for values without ties."""
    test, n = [path.score.mean for path in paths], len(paths)
    ranks = [(sorted(scores).index(a), sorted(test).index(b)) for a, b in zip(scores, test, strict=True)]
    return 1 - 6 * sum((a - b) ** 2 for a, b in ranks) / (n * (n**2 - 1))


def test_costs_are_of_one_seed_and_add_up_over_proxies() -> None:
    *proxies, target = run_all()
    assert costs(proxies, target) == (
        TrainingCost("one search on each proxy", 2000, 1e7),
        TrainingCost("every path on each proxy", 8000, 2.4e7),
        TrainingCost("one search on the target", 1000, 5e6),
        TrainingCost("every path on the target", 4000, 1.2e7),
    )


def test_the_search_on_the_target_has_its_regret() -> None:
    *proxies, target = run_all()
    paths = path_scores(proxies, target)
    search = target_search(paths, target)
    assert search is not None
    means = {path.path: path.score.mean for path in paths}
    assert search.regret.mean == pytest.approx(max(means.values()) - means["attending", "scanning"])
    assert search.path_summary == "attending · scanning (2 of 2 seeds)"
    assert [[list(stage) for stage in seed.weights] for seed in search.searches] == WEIGHTS["target"]


def test_stages_may_be_skipped_but_not_all_of_them() -> None:
    *proxies, target = run_all(runner=SkippingRunner(), skip=True)
    paths = path_scores(proxies, target)
    assert len(paths) == 3**2 - 1
    assert chosen_path(paths).path == ("skip", "scanning")


class SkippingRunner(FakeRunner):
    """Returns searches whose largest weights are those of skip."""

    def _result(self, trial: Trial) -> dict[str, Any]:
        result = super()._result(trial)
        weights = [[0.1, 0.2, 0.7], [0.1, 0.4, 0.5]]
        return {**result, "weights": weights, "scores": log_weights(weights)} if result.get("weights") else result


def test_searches_that_diverged_are_left_out() -> None:
    *proxies, target = run_all()
    proxies[0].results["hybrid"][0].update(weights=None, scores=None)
    path = path_scores(proxies, target)[0]
    assert path.search_scores["proxy one"] == pytest.approx(math.log(0.6) + math.log(0.2))
    proxies[0].results["hybrid"][1].update(weights=None, scores=None)
    with pytest.raises(ManticoreError, match="the search on proxy one diverged with every seed"):
        path_scores(proxies, target)


def test_the_scores_are_those_of_the_selector_and_not_the_mixing_weights() -> None:
    class EvaluatingRunner(FakeRunner):
        """Searches whose losses prefer another path than their weights; one path has diverged."""

        def _result(self, trial: Trial) -> dict[str, Any]:
            result = super()._result(trial)
            return {**result, "scores": [-1.2, None, -0.3, -2.0]} if result.get("weights") else result

    *proxies, target = run_all(runner=EvaluatingRunner())
    paths = path_scores(proxies, target)
    assert chosen_path(paths).path == ("scanning", "attending")
    assert [path.search_scores["proxy one"] for path in paths] == [-1.2, -2.0, -0.3, -2.0]
    assert [path.search_score for path in paths] == [-2.4, -4.0, -0.6, -4.0]
