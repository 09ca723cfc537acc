"""One task's study as a story in rounds: learning rates, base, seeds, budgets, tests. Knows no processes, no files.

Every choice is made on the validation split; the trials that are left are then scored on test, once. A arm's
learning rate is the one of the shared grid that serves it best, with the seeds for tuning. Base is the component that
is best then. In the first table all learn from as many tokens as the hybrid does in search and fine-tuning together, in
the second they spend as many operations.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from statistics import fmean
from typing import Any

from manticore.components.spec import SKIP
from manticore.config.recipe import Recipe
from manticore.experiment.phases import matched_steps
from manticore.experiment.seeding import seed_of
from manticore.studies.aggregate import table_row
from manticore.studies.baselines import ArmConfig
from manticore.studies.scheduler import Results, RoundPlan
from manticore.studies.trial import Trial, make_trial, test_trial
from manticore.training.metrics import ACCURACY, Metric

TrialRequest = Generator[list[Trial], Results, Results]


@dataclass(frozen=True)
class Arm:
    """One line of the table.

    Attributes:
        name: as it is called there.
        group: `hybrid`, `component`, `designed` or `control`.
        kind: the arm.
        terms: its terms with one seed, but for the steps.
    """

    name: str
    group: str
    kind: str
    terms: Callable[[int], ArmConfig]


@dataclass
class Study:
    """One task's study.

    Args:
        recipe: the search, and everything it is compared with.
        data: digest of the task.
        metric: what the task is measured by.
    """

    recipe: Recipe
    data: str
    metric: Metric = ACCURACY

    def __post_init__(self) -> None:
        self.space = self.recipe.space
        self.seeds = range(self.recipe.study.seeds)
        self.steps = matched_steps(self.recipe)
        self.rates: dict[str, float] = {}

    def story(self) -> RoundPlan[dict[str, Any]]:
        """Everything the task's tables are made from."""
        parts = self.recipe.study.baselines
        alone = [self.component(name) for name in self.space.names]
        scores = yield from self.tune(alone if "components" in parts or not self.space.base else [])
        base = self.space.base or max(self.space.names, key=lambda name: scores[f"{name} alone"])
        sides = [self.hybrid(base)] + (alone if "components" in parts else []) + self.rivals(base)
        yield from self.tune([side for side in sides if side.name not in self.rates])
        held = yield from self.rounds(sides)
        tables = {"tokens": held}
        spent = fmean(result["flops"] for result in held["hybrid"])
        if "flops" in self.recipe.study.budgets:
            tables["flops"] = yield from self.rounds(sides, spent, held)
        paths = yield from self.paths(base)
        return {"base": base, "train_flops": spent, "tables": self.told(sides, tables), "paths": paths}

    def component(self, name: str) -> Arm:
        """A component alone, its own base."""
        return replace(self.one_path(name, [name] * self.space.stages), name=f"{name} alone", group="component")

    def hybrid(self, base: str) -> Arm:
        """The hybrid."""
        return Arm("hybrid", "hybrid", "hybrid", lambda seed: {"base": base})

    def rivals(self, base: str) -> list[Arm]:
        """Everyone but the hybrid and the components, as far as they are wanted."""
        sides = {
            "designed": [
                Arm("mambaformer", "designed", "designed", lambda seed: {"name": "mambaformer"}),
                Arm("striped", "designed", "designed", lambda seed: {"name": "striped"}),
            ],
            "uniform": [Arm("uniform mixture", "control", "uniform", lambda seed: {"base": base})],
            "soft": [Arm("soft hybrid", "control", "soft", lambda seed: {"base": base})],
            "random": [
                Arm("random path", "control", "path", lambda seed: self.on_path(base, self.random_path(base, seed)))
            ],
            "hub": [Arm("hub", "control", "hub", lambda seed: {})],
        }
        return [side for name in self.recipe.study.baselines for side in sides.get(name, ())]

    def one_path(self, base: str, path: Sequence[str]) -> Arm:
        """One path from scratch."""
        return Arm(" · ".join(path), "path", "path", lambda seed: self.on_path(base, path))

    def on_path(self, base: str, path: Sequence[str]) -> ArmConfig:
        """Terms of one path."""
        return {"base": base, "path": list(path)}

    def all_paths(self) -> list[list[str]]:
        """Every path of the space that runs something."""
        chosen = product(self.space.candidates, repeat=self.space.stages)
        return [list(path) for path in chosen if any(choice != SKIP for choice in path)]

    def random_path(self, base: str, seed: int) -> list[str]:
        """One of all paths but the one that stays base."""
        paths = [path for path in self.all_paths() if set(path) != {base}]
        return random.Random(seed_of(seed, "random path")).choice(paths)

    def trial(self, side: Arm, seed: int, rate: float, stretch: float = 1.0) -> Trial:
        """The trial of a side; `stretch` times the steps that show it as many tokens as the hybrid sees."""
        steps = max(1, round(self.steps * stretch))
        terms = side.terms(seed)
        if side.kind in ("path", "uniform", "designed"):
            terms["steps"] = steps
        elif side.kind == "soft":  # after the same search
            terms["steps"] = max(1, steps - self.steps + self.recipe.finetune.steps)
        recipe = self.recipe if side.kind != "hub" else hub_recipe(self.recipe, steps)
        return make_trial(recipe, self.data, side.kind, terms, seed, rate, self.metric.for_text)

    def tune(self, sides: Sequence[Arm]) -> Generator[list[Trial], Results, dict[str, float]]:
        """Choose each side's learning rate; how good each is at its own on the validation split, in the mean."""
        grid = self.recipe.study.learning_rates
        seeds = self.seeds[: self.recipe.study.lr_search_seeds]
        results = yield [self.trial(side, seed, rate) for side in sides for rate in grid for seed in seeds]
        told, scores = iter(results), {}
        for side in sides:
            held = {rate: val_metric([next(told) for _ in seeds], self.metric) for rate in grid}
            self.rates[side.name] = max(held, key=lambda rate: held[rate])
            scores[side.name] = held[self.rates[side.name]][0]
        return scores

    def rounds(
        self, sides: Sequence[Arm], spent: float | None = None, before: dict[str, Results] | None = None
    ) -> Generator[list[Trial], Results, dict[str, Results]]:
        """Every side with every seed, and its test.

        Args:
            sides: who takes part.
            spent: operations that each may spend; default: as many tokens as the hybrid sees.
            before: results by side at that many tokens, which say what a side's operations cost.
        """
        trials = []
        for side in sides:
            used = spent if before is None else fmean(result["flops"] for result in before[side.name])
            # The hybrid is the measure, and a side that diverged with every seed has used nothing.
            stretch = spent / used if spent and used and side.kind != "hybrid" else 1.0
            trials += [self.trial(side, seed, self.rates[side.name], stretch) for seed in self.seeds]
        results = yield from request_trials(trials)
        told = iter(results)
        return {side.name: [next(told) for _ in self.seeds] for side in sides}

    def paths(self, base: str) -> Generator[list[Trial], Results, list[dict[str, Any]]]:
        """Every path of the space from scratch, with the learning rate of the random path, or of the hybrid."""
        if not self.recipe.study.paths:
            return []
        rate = self.rates.get("random path") or self.rates["hybrid"]
        seeds = self.seeds[: self.recipe.study.path_seeds or None]
        sides = [self.one_path(base, path) for path in self.all_paths()]
        results = yield from request_trials([self.trial(side, seed, rate) for side in sides for seed in seeds])
        told = iter(results)
        return [{"path": path, "results": [next(told) for _ in seeds]} for path in self.all_paths()]

    def told(self, sides: Iterable[Arm], tables: dict[str, dict[str, Results]]) -> dict[str, list[dict[str, Any]]]:
        """Each budget's rows."""
        return {
            budget: [
                table_row(side.name, side.group, self.rates[side.name], results[side.name], self.metric)
                for side in sides
            ]
            for budget, results in tables.items()
        }


def request_trials(trials: list[Trial]) -> TrialRequest:
    """Results of trials with their test scores under `test`: trained first, all of them, then tested."""
    trained = yield trials
    scored = yield [test_trial(held) for held in trials]
    return [{**one, "test": other} for one, other in zip(trained, scored, strict=True)]


def val_metric(results: Results, metric: Metric) -> tuple[float, float]:
    """What an arm is worth on the validation split: how good it is in the mean, and among equals its loss."""
    good = fmean(metric.sort_key(metric.value_of(held["score"])) for held in results)
    return good, -fmean(held["score"]["loss"] for held in results)


def hub_recipe(recipe: Recipe, steps: int) -> Recipe:
    """The paper's own way on as many sequences: its wiring, one level from the first step on, nothing discrete."""
    search = replace(
        recipe.search,
        strategy="simultaneous",
        entropy_weight=0.0,
        sample_paths=False,
        warmup_steps=0,
        steps=steps,
        batch_size=recipe.finetune.batch_size,
        weights=recipe.finetune.weights,
    )
    options = {key: value for key, value in recipe.space.projector_options.items() if key != "bypass"}
    space = replace(recipe.space, base=None, skip=False, projector_options=options, topology="hub")
    return replace(recipe, search=search, space=space)
