"""What is trained in a search: each component alone, the supernet, the discrete hybrid, the baselines."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

from manticore.architecture import SKIP
from manticore.discretization import discretize
from manticore.recipe import ZERO_SHOT, Recipe
from manticore.runs.aligning import aligned_sequences, ready, seen_before
from manticore.runs.ranking import ZERO_SHOT_BATCHES, score_paths
from manticore.runs.wording import label_fields
from manticore.runs.workshop import Trained, Workshop, seed_of
from manticore.strategies import strategies
from manticore.supernet import Supernet
from manticore.training.callbacks import AlphaRecord
from manticore.training.data import Stream
from manticore.training.modules import SearchModule, TrainModule

BOTH = ("weights", "alphas")
RANDOM = "random path"


def fair_steps(recipe: Recipe) -> int:
    """Steps that show a baseline as many sequences as the hybrid saw in search and fine-tuning together."""
    search, tuned = recipe.search, recipe.finetune.steps * recipe.finetune.batch_size
    if search.strategy == ZERO_SHOT:
        searched = search.batch_size * ZERO_SHOT_BATCHES
    else:
        alpha_steps = search.steps - search.warmup_steps if len(strategies[search.strategy].splits) > 1 else 0
        searched = (search.steps + alpha_steps) * search.batch_size
    return round((aligned_sequences(recipe) + searched + tuned) / recipe.finetune.batch_size)


def lessons(shop: Workshop) -> dict[str, Stream]:
    """What models that are compared learn from: with one seed and one tokenizer the same batches in the same order.

    Then what they differ by is not the luck of the draw, and intervals of differences are as narrow as they can be. Who
    has fewer steps sees the first of them. A search draws its own: so does the hub, which is nothing but a search.
    """
    return {"weights": shop.stream(BOTH, shop.recipe.finetune.batch_size, "lessons")}


def train_alone(shop: Workshop) -> dict[str, Trained]:
    """Every component by itself, with its own embedding, norm and head, on as much as the hybrid will see."""
    if not shop.recipe.compare.components:
        return {}
    stages, options = shop.space.stages, shop.recipe.finetune
    steps = fair_steps(shop.recipe)
    out = {}
    for name in shop.space.names:
        its = shop.read_as(name)

        def make(name: str = name, its: Workshop = its) -> TrainModule:
            net = discretize(its.supernet(name, "softmax", f"alone {name}"), [name] * stages, **label_fields(its.task))
            return TrainModule(net, options.weights, steps)

        out[name] = its.train(f"alone {name}", make, partial(lessons, its))
    return out


def train_supernet(shop: Workshop, home: str) -> Trained:
    """The search itself."""
    options = shop.recipe.search
    if options.strategy == ZERO_SHOT:
        return score_paths(shop, home)
    strategy = strategies[options.strategy]()
    # The hub's projectors live in the mixture alone, and a single level has one pass for weights and alphas.
    sampled = options.sampled and shop.space.topology != "hub" and "alphas" in strategy.splits

    def make() -> SearchModule:
        net = ready(shop, home, options.relaxation, "search")
        module = SearchModule(
            net,
            strategy,
            options.weights,
            options.alphas,
            options.steps,
            options.warmup_steps,
            options.entropy,
            sampled,
            options.decide,
        )
        module.tokens = seen_before(shop, home)
        return module

    def streams() -> dict[str, Any]:
        return {
            name: shop.stream(splits, options.batch_size, f"search {name}") for name, splits in strategy.splits.items()
        }

    return shop.train("search", make, streams, [AlphaRecord(shop.folder.alphas)])


def finetune(shop: Workshop, supernet: Supernet, path: list[str], phase: str) -> Trained:
    """The discrete hybrid on `path`, trained on weights and alphas together, from what the recipe says.

    A random path that starts fresh owes nothing to the search, and gets its tokens as well.
    """
    options = shop.recipe.finetune
    fresh = options.start == "fresh"
    steps = fair_steps(shop.recipe) if fresh and phase == RANDOM else options.steps

    def make() -> TrainModule:
        start = ready(shop, supernet.home, "softmax", "search") if fresh else supernet
        return TrainModule(discretize(start, path, **label_fields(shop.task)), options.weights, steps)

    return shop.train(phase, make, partial(lessons, shop))


def train_baselines(shop: Workshop, supernet: Supernet, home: str, path: list[str]) -> dict[str, Trained]:
    """The uniform mixture, and a random path of the same supernet."""
    out = {}
    if shop.recipe.compare.uniform:
        options, steps = shop.recipe.finetune, fair_steps(shop.recipe)
        out["uniform mixture"] = shop.train(
            "uniform mixture",
            lambda: TrainModule(ready(shop, home, "fixed", "search"), options.weights, steps),
            partial(lessons, shop),
        )
    if shop.recipe.compare.random:
        out[RANDOM] = finetune(shop, supernet, random_path(shop, supernet, path), RANDOM)
    return out


def random_path(shop: Workshop, supernet: Supernet, path: list[str]) -> list[str]:
    """A path drawn uniformly from all but the one that was found."""
    rng = random.Random(seed_of(shop.recipe.run.seed, "random path"))
    while True:
        drawn = [rng.choice(supernet.candidates) for _ in path]
        if drawn != path and any(choice != SKIP for choice in drawn):
            return drawn
