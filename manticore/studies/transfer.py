"""The trials of a transfer study, in rounds: searches on the proxies, every path of the space on all tasks.

Choices are made on validation splits. Test splits are read for the models of the target alone, once. Components of the
proxies and of the target correspond by their index, since the target may have other components.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from manticore.studies.scheduler import Results, RoundPlan, run_rounds
from manticore.studies.study import Arm, Study, take
from manticore.studies.trial import Trial


@dataclass(frozen=True)
class TaskStudy:
    """One task, proxy or target, with the results of its trials.

    Attributes:
        task: its name.
        study: its components, seeds and learning rates.
        base: the component that is the base.
        results: by name of the arm, a result for each seed: `hybrid` if the task was searched, every path, and on the
            target every component alone.
    """

    task: str
    study: Study
    base: str
    results: dict[str, Results]

    @property
    def paths(self) -> list[Results]:
        """The results of each path, in the order of `Study.all_paths`."""
        return [self.results[arm.name] for arm in path_arms(self.study, self.base)]

    @property
    def components(self) -> list[Results]:
        """The results of each component alone, in the order of the components."""
        return [self.results[f"{name} alone"] for name in self.study.space.names]


def run_transfer(
    names: Sequence[str], studies: Sequence[Study], search_target: bool, run: Callable[[list[Trial]], Results]
) -> list[TaskStudy]:
    """Run all trials.

    Args:
        names: of the tasks, the target last.
        studies: one for each task.
        search_target: whether to search the target too, for comparison.
        run: maps trials to their results, see `run_rounds`.
    """
    scores = run_rounds([study.search_learning_rates(component_arms(study)) for study in studies], run)
    index = base_index(studies, scores[:-1])
    bases = [study.space.names[index] for study in studies]
    plans = [proxy_plan(study, base) for study, base in zip(studies[:-1], bases[:-1], strict=True)]
    results = run_rounds([*plans, target_plan(studies[-1], bases[-1], search_target)], run)
    return [TaskStudy(*fields) for fields in zip(names, studies, bases, results, strict=True)]


def base_index(studies: Sequence[Study], scores: Sequence[dict[str, float]]) -> int:
    """The index of the base: the one that the recipes name, or the component with the best mean score over the proxies.

    Args:
        studies: of all tasks.
        scores: of each proxy, the validation score of each component alone, in their order.
    """
    for study in studies:
        if study.space.base is not None:
            return study.space.names.index(study.space.base)
    means = [fmean(values) for values in zip(*(by_name.values() for by_name in scores), strict=True)]
    return means.index(max(means))


def proxy_plan(study: Study, base: str) -> RoundPlan[dict[str, Results]]:
    """The search and every path from scratch, with every seed; not tested."""
    arms = yield from _prepare_arms(study, base, search=True)
    trials = [study.trial(arm, seed, study.learning_rates[arm.name]) for arm in arms for seed in study.seeds]
    results = iter((yield trials))
    return {arm.name: take(results, len(study.seeds)) for arm in arms}


def target_plan(study: Study, base: str, search: bool) -> RoundPlan[dict[str, Results]]:
    """Train and test every component alone, every path from scratch and, if requested, the search, with every seed."""
    arms = yield from _prepare_arms(study, base, search)
    return (yield from study.train_and_test([*component_arms(study), *arms]))


def _prepare_arms(study: Study, base: str, search: bool) -> RoundPlan[list[Arm]]:
    """The search, if requested, with its own learning rate, and the paths with the learning rate of the base alone."""
    searches = [study.hybrid_arm(base)] if search else []
    if searches:
        yield from study.search_learning_rates(searches)
    paths = path_arms(study, base)
    study.learning_rates |= dict.fromkeys((arm.name for arm in paths), study.learning_rates[f"{base} alone"])
    return [*searches, *paths]


def component_arms(study: Study) -> list[Arm]:
    """Each component alone."""
    return [study.component_arm(name) for name in study.space.names]


def path_arms(study: Study, base: str) -> list[Arm]:
    """Every path from scratch, in the order of `Study.all_paths`."""
    return [study.path_arm(base, path) for path in study.all_paths()]
