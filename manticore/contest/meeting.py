"""One task's contest as a story in rounds: learning rates, home, seeds, budgets, tests. Knows no processes, no files.

Every choice is made on the model-choice split; the trials that are left are then scored on test, once. A contender's
learning rate is the one of the shared grid that serves it best, with the seeds for tuning. Home is the component that
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

from manticore.architecture import SKIP
from manticore.contest.contenders import Terms
from manticore.contest.rounds import Results, Story
from manticore.contest.standing import table_row
from manticore.contest.trials import Trial, tested, trial
from manticore.recipe import Recipe
from manticore.report.metric import ACCURACY, Metric
from manticore.runs.phases import fair_steps
from manticore.runs.workshop import seed_of

Ask = Generator[list[Trial], Results, Results]


@dataclass(frozen=True)
class Side:
    """One line of the table.

    Attributes:
        name: as it is called there.
        group: `hybrid`, `component`, `designed` or `control`.
        kind: the contender.
        terms: its terms with one seed, but for the steps.
    """

    name: str
    group: str
    kind: str
    terms: Callable[[int], Terms]


@dataclass
class Meeting:
    """One task's contest.

    Args:
        recipe: the search, and everything it is compared with.
        data: digest of the task.
        metric: what the task is measured by.
    """

    recipe: Recipe
    data: str
    metric: Metric = ACCURACY

    def __post_init__(self) -> None:
        self.space = self.recipe.search_space()
        self.seeds = range(self.recipe.contest.seeds)
        self.steps = fair_steps(self.recipe)
        self.rates: dict[str, float] = {}

    def story(self) -> Story:
        """Everything the task's tables are made from."""
        parts = self.recipe.contest.contenders
        alone = [self.component(name) for name in self.space.names]
        scores = yield from self.tune(alone if "components" in parts or not self.space.home else [])
        home = self.space.home or max(self.space.names, key=lambda name: scores[f"{name} alone"])
        sides = [self.hybrid(home)] + (alone if "components" in parts else []) + self.rivals(home)
        yield from self.tune([side for side in sides if side.name not in self.rates])
        held = yield from self.rounds(sides)
        tables = {"tokens": held}
        spent = fmean(result["flops"] for result in held["hybrid"])
        if "flops" in self.recipe.contest.budgets:
            tables["flops"] = yield from self.rounds(sides, spent, held)
        paths = yield from self.paths(home)
        return {"home": home, "train_flops": spent, "tables": self.told(sides, tables), "paths": paths}

    def component(self, name: str) -> Side:
        """A component alone, its own home."""
        return replace(self.one_path(name, [name] * self.space.stages), name=f"{name} alone", group="component")

    def hybrid(self, home: str) -> Side:
        """The hybrid."""
        return Side("hybrid", "hybrid", "hybrid", lambda seed: {"home": home})

    def rivals(self, home: str) -> list[Side]:
        """Everyone but the hybrid and the components, as far as they are wanted."""
        sides = {
            "designed": [
                Side("mambaformer", "designed", "designed", lambda seed: {"name": "mambaformer"}),
                Side("striped", "designed", "designed", lambda seed: {"name": "striped"}),
            ],
            "uniform": [Side("uniform mixture", "control", "uniform", lambda seed: {"home": home})],
            "soft": [Side("soft hybrid", "control", "soft", lambda seed: {"home": home})],
            "random": [
                Side("random path", "control", "path", lambda seed: self.on_path(home, self.random_path(home, seed)))
            ],
            "hub": [Side("hub", "control", "hub", lambda seed: {})],
        }
        return [side for name in self.recipe.contest.contenders for side in sides.get(name, ())]

    def one_path(self, home: str, path: Sequence[str]) -> Side:
        """One path from scratch."""
        return Side(" · ".join(path), "path", "path", lambda seed: self.on_path(home, path))

    def on_path(self, home: str, path: Sequence[str]) -> Terms:
        """Terms of one path."""
        return {"home": home, "path": list(path)}

    def all_paths(self) -> list[list[str]]:
        """Every path of the space that runs something."""
        chosen = product(self.space.candidates, repeat=self.space.stages)
        return [list(path) for path in chosen if any(choice != SKIP for choice in path)]

    def random_path(self, home: str, seed: int) -> list[str]:
        """One of all paths but the one that stays home."""
        paths = [path for path in self.all_paths() if set(path) != {home}]
        return random.Random(seed_of(seed, "random path")).choice(paths)

    def trial(self, side: Side, seed: int, rate: float, stretch: float = 1.0) -> Trial:
        """The trial of a side; `stretch` times the steps that show it as many tokens as the hybrid sees."""
        steps = max(1, round(self.steps * stretch))
        terms = side.terms(seed)
        if side.kind in ("path", "uniform", "designed"):
            terms["steps"] = steps
        elif side.kind == "soft":  # after the same search
            terms["steps"] = max(1, steps - self.steps + self.recipe.finetune.steps)
        recipe = self.recipe if side.kind != "hub" else hub_recipe(self.recipe, steps)
        return trial(recipe, self.data, side.kind, terms, seed, rate, self.metric.of_text)

    def tune(self, sides: Sequence[Side]) -> Generator[list[Trial], Results, dict[str, float]]:
        """Choose each side's learning rate; how good each is at its own on model choice, in the mean."""
        grid = self.recipe.contest.learning_rates
        seeds = self.seeds[: self.recipe.contest.tuning_seeds]
        results = yield [self.trial(side, seed, rate) for side in sides for rate in grid for seed in seeds]
        told, scores = iter(results), {}
        for side in sides:
            held = {rate: merit([next(told) for _ in seeds], self.metric) for rate in grid}
            self.rates[side.name] = max(held, key=lambda rate: held[rate])
            scores[side.name] = held[self.rates[side.name]][0]
        return scores

    def rounds(
        self, sides: Sequence[Side], spent: float | None = None, before: dict[str, Results] | None = None
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
        results = yield from ask(trials)
        told = iter(results)
        return {side.name: [next(told) for _ in self.seeds] for side in sides}

    def paths(self, home: str) -> Generator[list[Trial], Results, list[dict[str, Any]]]:
        """Every path of the space from scratch, with the learning rate of the random path, or of the hybrid."""
        if not self.recipe.contest.paths:
            return []
        rate = self.rates.get("random path") or self.rates["hybrid"]
        seeds = self.seeds[: self.recipe.contest.path_seeds or None]
        sides = [self.one_path(home, path) for path in self.all_paths()]
        results = yield from ask([self.trial(side, seed, rate) for side in sides for seed in seeds])
        told = iter(results)
        return [{"path": path, "results": [next(told) for _ in seeds]} for path in self.all_paths()]

    def told(self, sides: Iterable[Side], tables: dict[str, dict[str, Results]]) -> dict[str, list[dict[str, Any]]]:
        """Each budget's rows."""
        return {
            budget: [
                table_row(side.name, side.group, self.rates[side.name], results[side.name], self.metric)
                for side in sides
            ]
            for budget, results in tables.items()
        }


def ask(trials: list[Trial]) -> Ask:
    """Results of trials with their test scores under `test`: trained first, all of them, then tested."""
    trained = yield trials
    scored = yield [tested(held) for held in trials]
    return [{**one, "test": other} for one, other in zip(trained, scored, strict=True)]


def merit(results: Results, metric: Metric) -> tuple[float, float]:
    """What a contender is worth on the model-choice split: how good it is in the mean, and among equals its loss."""
    good = fmean(metric.goodness(metric.of(held["score"])) for held in results)
    return good, -fmean(held["score"]["loss"] for held in results)


def hub_recipe(recipe: Recipe, steps: int) -> Recipe:
    """The paper's own way on as many sequences: its wiring, one level from the first step on, nothing discrete."""
    search = replace(
        recipe.search,
        strategy="simultaneous",
        entropy=0.0,
        sampled=False,
        warmup_steps=0,
        steps=steps,
        batch_size=recipe.finetune.batch_size,
        weights=recipe.finetune.weights,
    )
    space = {key: value for key, value in recipe.space.items() if key not in ("home", "skip")}
    options = space.get("projector_options") or {}
    if "bypass" in options:  # there is no home whose stream could pass by
        space["projector_options"] = {key: value for key, value in options.items() if key != "bypass"}
    return replace(recipe, search=search, space={**space, "topology": "hub"})
