"""What is trained in a search: each component alone, the supernet, the discrete hybrid, the baselines."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

from manticore.components.spec import SKIP
from manticore.config.recipe import Recipe
from manticore.config.sections import ZERO_SHOT
from manticore.experiment.experiment import Experiment, PhaseResult, seed_of
from manticore.experiment.projectors import aligned_sequences, build_aligned_supernet, calibration_tokens
from manticore.experiment.zero_shot import ZERO_SHOT_BATCHES, score_paths
from manticore.nas.discretize import discretize
from manticore.nas.strategies import strategies
from manticore.nas.supernet import Supernet
from manticore.training.batching import BatchSampler
from manticore.training.callbacks import AlphaRecord
from manticore.training.modules import SearchModule, TrainModule

BOTH = ("train", "train_arch")
RANDOM = "random path"


def matched_steps(recipe: Recipe) -> int:
    """Steps that show a baseline as many sequences as the hybrid saw in search and fine-tuning together."""
    search, tuned = recipe.search, recipe.finetune.steps * recipe.finetune.batch_size
    if search.strategy == ZERO_SHOT:
        searched = search.batch_size * ZERO_SHOT_BATCHES
    else:
        alpha_steps = search.steps - search.warmup_steps if len(strategies[search.strategy].splits) > 1 else 0
        searched = (search.steps + alpha_steps) * search.batch_size
    return round((aligned_sequences(recipe) + searched + tuned) / recipe.finetune.batch_size)


def finetune_stream(exp: Experiment) -> dict[str, BatchSampler]:
    """What models that are compared learn from: with one seed and one tokenizer the same batches in the same order.

    Then what they differ by is not the luck of the draw, and intervals of differences are as narrow as they can be. Who
    has fewer steps sees the first of them. A search draws its own: so does the hub, which is nothing but a search.
    """
    return {"weights": exp.stream(BOTH, exp.recipe.finetune.batch_size, "lessons")}


def train_components(exp: Experiment) -> dict[str, PhaseResult]:
    """Every component by itself, with its own embedding, norm and head, on as much as the hybrid will see."""
    if not exp.recipe.baselines.components:
        return {}
    stages, options = exp.space.stages, exp.recipe.finetune
    steps = matched_steps(exp.recipe)
    out = {}
    for name in exp.space.names:
        its = exp.read_as(name)

        def make(name: str = name, its: Experiment = its) -> TrainModule:
            net = discretize(
                its.supernet(name, "softmax", f"alone {name}"), [name] * stages, **its.task.config_fields()
            )
            return TrainModule(net, options.weights, steps)

        out[name] = its.train(f"alone {name}", make, partial(finetune_stream, its))
    return out


def run_search(exp: Experiment, base: str) -> PhaseResult:
    """The search itself."""
    options = exp.recipe.search
    if options.strategy == ZERO_SHOT:
        return score_paths(exp, base)
    strategy = strategies[options.strategy]()
    # The hub's projectors live in the mixture alone, and a single level has one pass for weights and alphas.
    sampled = options.sample_paths and exp.space.supports("sample_paths") and "alphas" in strategy.splits

    def make() -> SearchModule:
        net = build_aligned_supernet(exp, base, options.relaxation, "search")
        module = SearchModule(
            net,
            strategy,
            options.weights,
            options.alphas,
            options.steps,
            options.warmup_steps,
            options.entropy_weight,
            sampled,
            options.entropy_schedule,
        )
        module.tokens = calibration_tokens(exp, base)
        return module

    def streams() -> dict[str, Any]:
        return {
            name: exp.stream(splits, options.batch_size, f"search {name}") for name, splits in strategy.splits.items()
        }

    return exp.train("search", make, streams, [AlphaRecord(exp.folder.alphas)])


def finetune(exp: Experiment, supernet: Supernet, path: list[str], phase: str) -> PhaseResult:
    """The discrete hybrid on `path`, trained on weights and alphas together, from what the recipe says.

    A random path that starts fresh owes nothing to the search, and gets its tokens as well.
    """
    options = exp.recipe.finetune
    fresh = options.init == "components"
    steps = matched_steps(exp.recipe) if fresh and phase == RANDOM else options.steps

    def make() -> TrainModule:
        start = build_aligned_supernet(exp, supernet.base, "softmax", "search") if fresh else supernet
        return TrainModule(discretize(start, path, **exp.task.config_fields()), options.weights, steps)

    return exp.train(phase, make, partial(finetune_stream, exp))


def train_controls(exp: Experiment, supernet: Supernet, base: str, path: list[str]) -> dict[str, PhaseResult]:
    """The uniform mixture, and a random path of the same supernet."""
    out = {}
    if exp.recipe.baselines.uniform:
        options, steps = exp.recipe.finetune, matched_steps(exp.recipe)
        out["uniform mixture"] = exp.train(
            "uniform mixture",
            lambda: TrainModule(build_aligned_supernet(exp, base, "fixed", "search"), options.weights, steps),
            partial(finetune_stream, exp),
        )
    if exp.recipe.baselines.random:
        out[RANDOM] = finetune(exp, supernet, random_path(exp, supernet, path), RANDOM)
    return out


def random_path(exp: Experiment, supernet: Supernet, path: list[str]) -> list[str]:
    """A path drawn uniformly from all but the one that was found."""
    rng = random.Random(seed_of(exp.recipe.run.seed, "random path"))
    while True:
        drawn = [rng.choice(supernet.candidates) for _ in path]
        if drawn != path and any(choice != SKIP for choice in drawn):
            return drawn
