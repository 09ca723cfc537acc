"""A study of one task: its arms, their learning rates, trials and tests, as a plan of rounds (see `scheduler`).

All choices are made on the validation split; only then are the selected trials scored on test, once. The learning rate
of an arm is the one of a shared grid with the best mean score over the seeds of the learning-rate search. The base is
the component whose score is best at its learning rate.

There are two budgets. With `tokens` every arm trains on as many tokens as the hybrid does in search and fine-tuning
together; with `flops` every arm spends as many operations as the hybrid.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from manticore.components.spec import SKIP
from manticore.config.recipe import Recipe
from manticore.experiment.phases import matched_steps
from manticore.experiment.seeding import seed_of
from manticore.studies.baselines import ArmConfig
from manticore.studies.scheduler import Results, RoundPlan
from manticore.studies.trial import Trial, make_trial, test_trial
from manticore.training.metrics import ACCURACY, Metric


@dataclass(frozen=True)
class Arm:
    """One line of a study's table: a way to make and train a model.

    Attributes:
        name: as it is printed.
        group: `hybrid`, `component`, `designed`, `control` or `path`.
        kind: a name in `baselines.arm_kinds`.
        config: its config for a seed, without the steps.
    """

    name: str
    group: str
    kind: str
    config: Callable[[int], ArmConfig]


@dataclass(frozen=True)
class StudyOutcome:
    """The results of the trials of a study.

    Attributes:
        base: the component that is the base.
        arms: in the order of the table, the hybrid first.
        results: by budget and name of the arm, a result for each seed.
        paths: the results of every path of the space from scratch; empty if they were not requested.
    """

    base: str
    arms: tuple[Arm, ...]
    results: dict[str, dict[str, Results]]
    paths: dict[tuple[str, ...], Results]

    @property
    def train_flops(self) -> float:
        """Operations of the hybrid's training, mean over seeds."""
        return fmean(result["flops"] for result in self.results["tokens"]["hybrid"])


@dataclass
class Study:
    """One task: the hybrid and its baselines over seeds.

    Args:
        recipe: of the search and of everything it is compared with.
        data: `Task.fingerprint`.
        metric: of the task.
        search_length: `Experiment.search_length`.

    Attributes:
        space: the search space.
        seeds: of weights and batches.
        steps: number of steps of `finetune.batch_size` sequences in which an arm sees as many tokens as the hybrid.
        learning_rates: by arm, as far as they have been selected.
    """

    recipe: Recipe
    data: str
    metric: Metric = ACCURACY
    search_length: float = 1.0

    def __post_init__(self) -> None:
        self.space = self.recipe.space
        self.seeds = range(self.recipe.study.seeds)
        self.steps = matched_steps(self.recipe, self.search_length)
        self.learning_rates: dict[str, float] = {}

    def plan(self) -> RoundPlan[StudyOutcome]:
        """The rounds of the whole study: learning rates, base, trials for each budget, all paths."""
        options, components = self.recipe.study, []
        if "components" in options.baselines or not self.space.base:
            components = [self.component_arm(name) for name in self.space.names]
        scores = yield from self.search_learning_rates(components)
        base = self.space.base or max(self.space.names, key=lambda name: scores[f"{name} alone"])

        compared = components if "components" in options.baselines else []
        arms = [self.hybrid_arm(base), *compared, *self.baseline_arms(base)]
        yield from self.search_learning_rates([arm for arm in arms if arm.name not in self.learning_rates])

        results = {"tokens": (yield from self.train_and_test(arms))}
        if "flops" in options.budgets:
            results["flops"] = yield from self.train_and_test(arms, equal_flops_to=results["tokens"])
        rate = self.learning_rates.get("random path") or self.learning_rates["hybrid"]
        paths = (yield from self.train_all_paths(base, rate)) if options.paths else {}
        return StudyOutcome(base, tuple(arms), results, paths)

    def hybrid_arm(self, base: str) -> Arm:
        """The hybrid of a search with this base."""
        return Arm("hybrid", "hybrid", "hybrid", lambda seed: {"base": base})

    def component_arm(self, name: str) -> Arm:
        """A component alone: the path of its own stages, with itself as base."""
        return replace(self.path_arm(name, [name] * self.space.stages), name=f"{name} alone", group="component")

    def path_arm(self, base: str, path: Sequence[str]) -> Arm:
        """One path from scratch."""
        return Arm(" · ".join(path), "path", "path", lambda seed: {"base": base, "path": list(path)})

    def baseline_arms(self, base: str) -> list[Arm]:
        """The baselines of `study.baselines` other than the components."""
        arms = {
            "designed": [
                Arm("mambaformer", "designed", "designed", lambda seed: {"name": "mambaformer"}),
                Arm("striped", "designed", "designed", lambda seed: {"name": "striped"}),
            ],
            "uniform": [Arm("uniform mixture", "control", "uniform", lambda seed: {"base": base})],
            "soft": [Arm("soft hybrid", "control", "soft", lambda seed: {"base": base})],
            "random": [
                Arm("random path", "control", "path", lambda seed: {"base": base, "path": self.random_path(base, seed)})
            ],
            "hub": [Arm("hub", "control", "hub", lambda seed: {})],
        }
        return [arm for name in self.recipe.study.baselines for arm in arms.get(name, ())]

    def all_paths(self) -> list[list[str]]:
        """Every path of the space except those that skip all stages."""
        return [list(path) for path in self.space.choices.paths() if any(choice != SKIP for choice in path)]

    def random_path(self, base: str, seed: int) -> list[str]:
        """A path drawn uniformly from all but the base alone, of which there must be one."""
        paths = [path for path in self.all_paths() if set(path) != {base}]
        return random.Random(seed_of(seed, "random path")).choice(paths)

    def trial(self, arm: Arm, seed: int, learning_rate: float, scale: float = 1.0) -> Trial:
        """The trial of an arm; `scale` multiplies the steps of a budget of equal tokens."""
        steps = max(1, round(self.steps * scale))
        config = arm.config(seed)
        if arm.kind in ("path", "uniform", "designed"):
            config["steps"] = steps
        elif arm.kind == "soft":  # only fine-tuning is scaled: its search is the hybrid's
            config["steps"] = max(1, steps - self.steps + self.recipe.finetune.steps)
        recipe = self.recipe if arm.kind != "hub" else hub_recipe(self.recipe, steps)
        return make_trial(recipe, self.data, arm.kind, config, seed, learning_rate, self.metric.for_text)

    def search_learning_rates(self, arms: Sequence[Arm]) -> RoundPlan[dict[str, float]]:
        """Select the learning rate of each arm; returns its validation score there, larger being better."""
        grid = self.recipe.study.learning_rates
        seeds = self.seeds[: self.recipe.study.lr_search_seeds]
        results = iter((yield [self.trial(arm, seed, rate) for arm in arms for rate in grid for seed in seeds]))
        scores = {}
        for arm in arms:
            by_rate = {rate: validation_score([next(results) for _ in seeds], self.metric) for rate in grid}
            self.learning_rates[arm.name] = max(by_rate, key=lambda rate: by_rate[rate])
            scores[arm.name] = by_rate[self.learning_rates[arm.name]][0]
        return scores

    def train_and_test(
        self, arms: Sequence[Arm], equal_flops_to: dict[str, Results] | None = None
    ) -> RoundPlan[dict[str, Results]]:
        """Train every arm with every seed and test it; returns the results by arm.

        Args:
            arms: the arms.
            equal_flops_to: results by arm at equal tokens. Steps are then scaled so that each arm spends as many
                operations as the hybrid did there.
        """
        trials = []
        for arm in arms:
            scale = 1.0
            if equal_flops_to is not None and arm.kind != "hybrid":
                hybrid, own = (
                    fmean(result["flops"] for result in equal_flops_to[name]) for name in ("hybrid", arm.name)
                )
                scale = hybrid / own if hybrid and own else 1.0  # an arm that diverged with every seed has spent 0
            trials += [self.trial(arm, seed, self.learning_rates[arm.name], scale) for seed in self.seeds]
        results = iter((yield from train_then_test(trials)))
        return {arm.name: take(results, len(self.seeds)) for arm in arms}

    def train_all_paths(self, base: str, rate: float) -> RoundPlan[dict[tuple[str, ...], Results]]:
        """Train and test every path from scratch, at one learning rate."""
        seeds = self.seeds[: self.recipe.study.path_seeds or None]
        arms = [self.path_arm(base, path) for path in self.all_paths()]
        results = iter((yield from train_then_test([self.trial(arm, seed, rate) for arm in arms for seed in seeds])))
        return {tuple(path): take(results, len(seeds)) for path in self.all_paths()}


def train_then_test(trials: list[Trial]) -> RoundPlan[Results]:
    """Train all trials in one round and test them in the next; returns validation results with `test` added."""
    trained = yield trials
    tested = yield [test_trial(trial) for trial in trials]
    return [{**result, "test": test} for result, test in zip(trained, tested, strict=True)]


def take(results: Iterator[dict[str, Any]], count: int) -> Results:
    """The next `count` results."""
    return [next(results) for _ in range(count)]


def validation_score(results: Results, metric: Metric) -> tuple[float, float]:
    """Sort key of a validation score over seeds: the mean of the metric, then, among equals, the negative mean loss."""
    mean = fmean(metric.sort_key(metric.value_of(result["score"])) for result in results)
    return mean, -fmean(result["score"]["loss"] for result in results)


def hub_recipe(recipe: Recipe, steps: int) -> Recipe:
    """The method of the paper on as many sequences: hub topology, single-level search of `steps` steps."""
    search = replace(
        recipe.search,
        strategy="simultaneous",
        task_settings={},
        shorter_sequences=False,
        entropy_weight=0.0,
        sample_paths=False,
        warmup_steps=0,
        steps=steps,
        batch_size=recipe.finetune.batch_size,
        weights=recipe.finetune.weights,
    )
    options = {key: value for key, value in recipe.space.projector_options.items() if key != "bypass"}
    # The hub has no base: nothing can be skipped, and there is no stream that could bypass a stage.
    stage_candidates = {
        stage: tuple(name for name in names if name != SKIP) for stage, names in recipe.space.stage_candidates.items()
    }
    space = replace(
        recipe.space,
        base=None,
        skip=False,
        projector_options=options,
        topology="hub",
        stage_candidates=stage_candidates,
    )
    return replace(recipe, search=search, space=space)
