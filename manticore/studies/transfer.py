"""What is trained to program a hybrid, in rounds: searches on the proxies, every path on all tasks. Knows no files.

Every choice is made on validation splits; of the target's models the test split is read as well, once. Components
correspond by their place in the list, since the target may have others than the proxies.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from manticore.studies.scheduler import Results, RoundPlan, run_rounds
from manticore.studies.study import Arm, Study
from manticore.studies.trial import Trial


@dataclass(frozen=True)
class TaskStudy:
    """One task, proxy or target, and what was trained on it.

    Attributes:
        task: its name.
        study: components, seeds, learning rates.
        base: the component that is base here.
        results: by side, a result for each seed; `hybrid` if there was a search, then the paths by their words. The
            target has its components alone too.
    """

    task: str
    study: Study
    base: str
    results: dict[str, Results]

    @property
    def paths(self) -> list[Results]:
        """The results of each path, in the order of `Meeting.all_paths`."""
        return [self.results[side.name] for side in path_sides(self.study, self.base)]

    @property
    def alone(self) -> list[Results]:
        """The results of each component alone, in the order of the components."""
        return [self.results[f"{name} alone"] for name in self.study.space.names]


def train(
    names: Sequence[str], studies: Sequence[Study], search_target: bool, run: Callable[[list[Trial]], Results]
) -> list[TaskStudy]:
    """Train everything that is needed.

    Args:
        names: of the tasks, the target's last.
        studies: one for each task.
        search_target: whether the target is searched itself, to compare with.
        run: see `play`.
    """
    scores = run_rounds([study.tune(alone(study)) for study in studies], run)
    place = base_index(studies, scores[:-1])
    bases = [study.space.names[place] for study in studies]
    stories = [proxy_trials(*held) for held in zip(studies[:-1], bases[:-1], strict=True)]
    told = run_rounds([*stories, target_trials(studies[-1], bases[-1], search_target)], run)
    return [TaskStudy(*held) for held in zip(names, studies, bases, told, strict=True)]


def base_index(studies: Sequence[Study], scores: Sequence[dict[str, float]]) -> int:
    """The place of base: what was asked for, or who is best alone in the mean over proxies.

    Args:
        studies: of all tasks.
        scores: of each proxy, what `Meeting.tune` found of the components alone, in their order.
    """
    for held in studies:
        if held.space.base is not None:
            return held.space.names.index(held.space.base)
    means = [fmean(values) for values in zip(*(held.values() for held in scores), strict=True)]
    return means.index(max(means))


def proxy_trials(study: Study, base: str) -> RoundPlan[dict[str, Any]]:
    """The search and every path from scratch, with every seed; no test."""
    sides = yield from _ready(study, base, True)
    results = yield [study.trial(side, seed, study.rates[side.name]) for side in sides for seed in study.seeds]
    told = iter(results)
    return {side.name: [next(told) for _ in study.seeds] for side in sides}


def target_trials(study: Study, base: str, search: bool) -> RoundPlan[dict[str, Any]]:
    """Every component alone and every path from scratch, with every seed, and their tests; the search, if wanted."""
    sides = yield from _ready(study, base, search)
    held: dict[str, Any] = yield from study.rounds([*alone(study), *sides])
    return held


def _ready(study: Study, base: str, search: bool) -> Generator[list[Trial], Results, list[Arm]]:
    """The search, if wanted, with a learning rate of its own, and the paths with that of base alone."""
    searches = [study.hybrid(base)] if search else []
    if searches:
        yield from study.tune(searches)
    paths = path_sides(study, base)
    study.rates |= dict.fromkeys((side.name for side in paths), study.rates[f"{base} alone"])
    return [*searches, *paths]


def alone(study: Study) -> list[Arm]:
    """Each component alone."""
    return [study.component(name) for name in study.space.names]


def path_sides(study: Study, base: str) -> list[Arm]:
    """Every path from scratch, in the order of `Meeting.all_paths`."""
    return [study.one_path(base, path) for path in study.all_paths()]
