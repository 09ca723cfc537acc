"""Programming with trials that nobody ran: who is base, what is read when, and every number that is told."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import fmean, median_high
from typing import Any

import pytest

from manticore.config.loading import load_recipe
from manticore.errors import ManticoreError
from manticore.nas.selection import best_path
from manticore.studies.study import Study
from manticore.studies.transfer import TaskStudy, run_transfer
from manticore.studies.transfer_results import chosen_path, correlations, costs, path_rows, searched_path, transfer_arms
from manticore.studies.trial import Trial

NAMES = ("proxy one", "proxy two", "target")
WEIGHTS = {
    "proxy one": [[[0.9, 0.1], [0.4, 0.6]], [[0.6, 0.4], [0.2, 0.8]]],
    "proxy two": [[[0.2, 0.8], [0.3, 0.7]], [[0.5, 0.5], [0.9, 0.1]]],
    "target": [[[0.7, 0.3], [0.7, 0.3]], [[0.7, 0.3], [0.3, 0.7]]],
}
OTHERS = [{"source": "gpt-neo", "name": "attending"}, {"source": "mamba", "name": "scanning"}]


def study(name: str, components: list[Any], **space: Any) -> Study:
    keys = {
        "task": {"name": "mad-compression", "preset": "cpu"},
        "space": {"components": components, "stages": 2, **space},
        "study": {"seeds": 2, "learning_rates": [0.001, 0.002]},
    }
    return Study(load_recipe("search/mad", keys).recipe, name)


def score(held: Trial) -> float:
    """The first component is better on proxy one, the second on proxy two by more; the higher rate is better."""
    name, terms, seed = held["data"], held["config"], held["recipe"]["run"]["seed"]
    first = [choice in ("gpt-neo", "attending") for choice in terms.get("path", ())]
    worth = {"proxy one": 0.02, "proxy two": -0.05, "target": 0.03}[name]
    order = 0.01 if first == [False, True] else 0.0
    rate = held["recipe"]["finetune"]["weights"]["lr"]
    return 0.5 + worth * sum(first) + order + 0.004 * seed + 10 * rate


class Crew:
    """Answers trials and remembers what was asked."""

    def __init__(self, accuracy: Callable[[Trial], float] = score) -> None:
        self.accuracy, self.rounds = accuracy, list[list[Trial]]()

    def run(self, trials: list[Trial]) -> list[dict[str, Any]]:
        self.rounds.append(trials)
        return [self._answer(held) for held in trials]

    def _answer(self, held: Trial) -> dict[str, Any]:
        hybrid = held["arm"] == "hybrid"
        found = {"accuracy": self.accuracy(held) - (0.1 if held["split"] == "test" else 0.0), "loss": 1.0, "count": 40}
        if held["split"] == "test":
            return {"score": found, "before": {"soft": found, "discrete": found} if hybrid else {}}
        path = ["attending", "scanning"] if hybrid else None
        weights = WEIGHTS[held["data"]][held["recipe"]["run"]["seed"]] if hybrid else None
        spent = {"tokens": 1000, "flops": 5e6 if hybrid else 3e6, "seconds": 1.0}
        return {"score": found, "parameters": 10, "flops_per_token": 2.0, "path": path, "weights": weights, **spent}


def played(search: bool = True, crew: Crew | None = None, **space: Any) -> list[TaskStudy]:
    models = ["gpt-neo", "mamba"]
    studies = [study(name, OTHERS if name == "target" else models, **space) for name in NAMES]
    return run_transfer(NAMES, studies, search, (crew or Crew()).run)


def test_base_is_best_in_the_mean_over_proxies_at_the_same_place_everywhere() -> None:
    assert [ground.base for ground in played()] == ["mamba", "mamba", "scanning"]
    models = ["gpt-neo", "mamba"]
    asked = [study(name, models, base="gpt-neo") for name in NAMES[:2]] + [study("target", OTHERS)]
    assert [ground.base for ground in run_transfer(NAMES, asked, False, Crew().run)] == [
        "gpt-neo",
        "gpt-neo",
        "attending",
    ]


def test_every_choice_is_made_before_test_is_read_and_of_proxies_it_never_is() -> None:
    crew = Crew()
    played(crew=crew)
    *before, last = crew.rounds
    assert {held["split"] for asked in before for held in asked} == {"val"}
    assert {(held["split"], held["data"]) for held in last} == {("test", "target")}
    trained = [held for held in before[-1] if held["data"] == "target"]
    assert [{**held, "split": "val"} for held in last] == trained


def test_paths_have_the_learning_rate_of_base_alone_and_every_seed() -> None:
    crew = Crew(lambda held: score(held) - (20 * _rate(held) if held["data"] == "proxy one" else 0.0))
    grounds = played(crew=crew)
    assert [ground.study.learning_rates[f"{ground.base} alone"] for ground in grounds] == [0.001, 0.002, 0.002]
    for ground in grounds:
        asked = [held for held in crew.rounds[2] if held["data"] == ground.study.data and "steps" in held["config"]]
        paths = [held for held in asked if held["config"]["base"] == ground.base]
        assert {_rate(held) for held in paths} == {ground.study.learning_rates[f"{ground.base} alone"]}
        assert len({(tuple(held["config"]["path"]), held["recipe"]["run"]["seed"]) for held in paths}) == 4 * 2


def _rate(held: Trial) -> float:
    return float(held["recipe"]["finetune"]["weights"]["lr"])


def test_the_target_is_searched_only_if_asked() -> None:
    crew = Crew()
    grounds = played(search=False, crew=crew)
    assert {held["data"] for asked in crew.rounds for held in asked if held["arm"] == "hybrid"} == set(NAMES[:2])
    assert searched_path(path_rows(grounds[:-1], grounds[-1]), grounds[-1]) is None
    assert costs(grounds[:-1], grounds[-1])[2] == {"name": "one search on the target", "tokens": 1000, "flops": None}


def test_programmed_path_is_the_best_path_of_the_summed_log_weights() -> None:
    *proxies, target = played()
    rows = path_rows(proxies, target)
    total = [
        [sum(fmean(math.log(seed[stage][place]) for seed in WEIGHTS[name]) for name in NAMES[:2]) for place in range(2)]
        for stage in range(2)
    ]
    chosen = best_path(total)
    assert chosen_path(rows)["path"] == [target.study.space.names[place] for place in chosen]
    assert chosen_path(rows)["log_weight"] == pytest.approx(sum(total[stage][chosen[stage]] for stage in range(2)))
    assert chosen_path(rows)["log_weight"] == pytest.approx(sum(chosen_path(rows)["log_weights"].values()))


def test_scores_of_proxies_are_model_choice_and_the_target_s_are_test() -> None:
    *proxies, target = played()
    row = path_rows(proxies, target)[1]
    assert row["path"] == ["attending", "scanning"]
    assert row["values"] == pytest.approx({"0": 0.5 + 0.03 + 0.02 - 0.1, "1": 0.5 + 0.03 + 0.02 + 0.004 - 0.1})
    assert row["accuracy"]["mean"] == pytest.approx(fmean(row["values"].values()))
    assert row["proxies"]["proxy one"]["mean"] == pytest.approx(0.5 + 0.02 + 0.02 + 0.002)
    assert row["proxies"]["proxy two"]["mean"] == pytest.approx(0.5 - 0.05 + 0.02 + 0.002)
    assert row["proxy"]["mean"] == pytest.approx(fmean(held["mean"] for held in row["proxies"].values()))
    assert row["proxy"]["count"] == 2


def test_standings_are_made_from_the_paths() -> None:
    *proxies, target = played()
    rows = path_rows(proxies, target)
    held = {row["name"]: row for row in transfer_arms(rows, target)}
    means = {" ".join(row["path"]): row["accuracy"]["mean"] for row in rows}
    best = max(means.values())
    assert list(held) == [
        "programmed path", "best on the proxies", "scanning alone", "attending alone", "best path", "median path",
    ]  # fmt: skip
    for row in held.values():
        assert row["accuracy"]["mean"] == pytest.approx(fmean(row["values"].values()))
        assert row["lead"]["mean"] == pytest.approx(row["accuracy"]["mean"] - means["scanning scanning"])
        if row["name"] != "attending alone":
            assert row["regret"]["mean"] == pytest.approx(best - means[" ".join(row["path"])])
            assert row["place"] == 1 + sum(mean > row["accuracy"]["mean"] for mean in means.values())
    assert held["median path"]["accuracy"]["mean"] == median_high(means.values())
    assert held["best path"]["place"] == 1
    assert held["attending alone"]["path"] is None
    assert held["best on the proxies"]["path"] == max(rows, key=lambda row: row["proxy"]["mean"])["path"]


def test_correlations_are_of_ranks_over_all_paths() -> None:
    *proxies, target = played()
    rows = path_rows(proxies, target)
    found = {row["proxy"]: row for row in correlations(rows, NAMES[:2])}
    assert list(found) == ["proxy one", "proxy two", "all proxies"]
    assert found["proxy one"]["accuracy"]["mean"] == pytest.approx(1.0)
    for name, row in found.items():
        ours = [one["proxy" if name == "all proxies" else "proxies"] for one in rows]
        scores = [one["mean"] if name == "all proxies" else one[name]["mean"] for one in ours]
        assert row["accuracy"]["mean"] == pytest.approx(by_differences(scores, rows))
        weights = [one["log_weight"] if name == "all proxies" else one["log_weights"][name] for one in rows]
        assert row["log_weight"]["mean"] == pytest.approx(by_differences(weights, rows))
        assert row["accuracy"]["count"] == len(rows) == 4


def by_differences(scores: list[float], rows: list[dict[str, Any]]) -> float:
    """Spearman's own formula, `1 - 6 sum d^2 / (n (n^2 - 1))`, for values without ties."""
    reached, n = [row["accuracy"]["mean"] for row in rows], len(rows)
    pairs = zip(scores, reached, strict=True)
    ranks = [(sorted(scores).index(ours), sorted(reached).index(theirs)) for ours, theirs in pairs]
    return 1 - 6 * sum((ours - theirs) ** 2 for ours, theirs in ranks) / (n * (n**2 - 1))


def test_costs_are_of_one_seed_and_add_up_over_proxies() -> None:
    *proxies, target = played()
    assert costs(proxies, target) == [
        {"name": "one search on each proxy", "tokens": 2000, "flops": 1e7},
        {"name": "every path on each proxy", "tokens": 8000, "flops": 2.4e7},
        {"name": "one search on the target", "tokens": 1000, "flops": 5e6},
        {"name": "every path on the target", "tokens": 4000, "flops": 1.2e7},
    ]


def test_the_target_s_own_search_is_told_with_its_regret() -> None:
    *proxies, target = played()
    rows = path_rows(proxies, target)
    held = searched_path(rows, target)
    assert held is not None
    means = {tuple(row["path"]): row["accuracy"]["mean"] for row in rows}
    assert held["regret"]["mean"] == pytest.approx(max(means.values()) - means["attending", "scanning"])
    assert held["path"] == "attending · scanning (2 of 2 seeds)"
    assert [seed["weights"] for seed in held["seeds"]] == WEIGHTS["target"]


def test_a_stage_may_be_left_out_but_not_all_of_them() -> None:
    grounds = played(crew=Skipping(), skip=True)
    rows = path_rows(grounds[:-1], grounds[-1])
    assert len(rows) == 3**2 - 1
    assert chosen_path(rows)["path"] == ["skip", "scanning"]


class Skipping(Crew):
    """Searches that would leave out everything."""

    def _answer(self, held: Trial) -> dict[str, Any]:
        given = super()._answer(held)
        return {**given, "weights": [[0.1, 0.2, 0.7], [0.1, 0.4, 0.5]]} if given.get("weights") else given


def test_searches_that_diverged_say_nothing() -> None:
    *proxies, target = played()
    proxies[0].results["hybrid"][0]["weights"] = None
    row = path_rows(proxies, target)[0]
    assert row["log_weights"]["proxy one"] == pytest.approx(math.log(0.6) + math.log(0.2))
    proxies[0].results["hybrid"][1]["weights"] = None
    with pytest.raises(ManticoreError, match="the search on proxy one diverged with every seed"):
        path_rows(proxies, target)
