"""The phases of training in a search: each component alone, the supernet, the discrete hybrid, the controls."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import islice

from transformers import PreTrainedModel

from manticore.adapters.searched import decide_sizes, searched_layers
from manticore.components.spec import SKIP
from manticore.config.recipe import Recipe
from manticore.experiment.adapters import save_sizes
from manticore.experiment.budget import cost_penalty, path_budget
from manticore.experiment.experiment import Experiment, PhaseResult
from manticore.experiment.path_search import search_paths
from manticore.experiment.projectors import alignment_sequences, build_aligned_supernet, calibration_tokens
from manticore.experiment.teacher import teacher_loss
from manticore.nas.choices import PathNames
from manticore.nas.discretize import discretize
from manticore.nas.selection.placements import placements
from manticore.nas.selection.replace_one import replaced_scores
from manticore.nas.strategies import PathStrategy, TrainingFree, build_strategy, strategies
from manticore.nas.supernet import Supernet
from manticore.tasks.dataset import Batch
from manticore.training.batching import BatchSampler, batch_to
from manticore.training.callbacks import AlphaRecord
from manticore.training.exits import ExitLoss
from manticore.training.losses import LossFunction
from manticore.training.modules import TrainModule
from manticore.training.search_module import SearchModule
from manticore.utils.console import info
from manticore.utils.path_text import path_text

TRAINING_SPLITS = ("train", "train_arch")
"""Splits that every model but the supernet is trained on."""

ALONE, FINETUNE = "alone ", "fine-tune"
"""Names of phases: `alone NAME` trains a component by itself, `fine-tune` the hybrid."""

UNIFORM_MIXTURE, RANDOM_PATH = "uniform mixture", "random path"
"""Names of the controls: phases of training and rows of tables."""


def matched_steps(recipe: Recipe, search_length: float = 1.0) -> int:
    """Steps in which a baseline sees as many tokens as the hybrid in alignment, search and fine-tuning together.

    `search_length` is `Experiment.search_length`.
    """
    options, batch_size = recipe.search, recipe.finetune.batch_size
    searched = (
        strategies[options.strategy].sequences(options.steps, options.warmup_steps, options.batch_size) * search_length
    )
    return round((alignment_sequences(recipe) + searched + recipe.finetune.steps * batch_size) / batch_size)


def count_phases(recipe: Recipe) -> int:
    """The number of phases of a search; 0 for a strategy that trains paths by themselves, which decides it."""
    if issubclass(strategies[recipe.search.strategy], PathStrategy):
        return 0
    baselines = recipe.baselines
    components = len(recipe.space.names) if baselines.components else 0
    return components + 2 + baselines.uniform + baselines.paths


def finetune_stream(exp: Experiment) -> dict[str, BatchSampler]:
    """Batches of all training outside of the search.

    With the same seed and tokenizer, all compared models get the same batches in the same order, so their differences
    do not depend on the order, and intervals of differences are narrow. A model with fewer steps gets the first ones.
    """
    options = exp.recipe.finetune
    return {"weights": exp.stream(TRAINING_SPLITS, options.batch_size, "lessons", options.copies)}


def train_components(exp: Experiment) -> dict[str, PhaseResult[PreTrainedModel]]:
    """Train each component alone, with its own embedding, norm and head, on as many tokens as the hybrid.

    Empty if the recipe has no components among its baselines.
    """
    if not exp.recipe.baselines.components:
        return {}
    return {name: _train_component(exp.for_component(name), name) for name in exp.space.names}


def _train_component(exp: Experiment, name: str) -> PhaseResult[PreTrainedModel]:
    steps, phase = matched_steps(exp.recipe, exp.search_length), f"{ALONE}{name}"
    return exp.train(
        phase,
        lambda: build_component(exp, name, phase),
        lambda net: TrainModule(net, exp.recipe.finetune.weights, steps, exp.loop()),
        partial(finetune_stream, exp),
    )


def build_component(exp: Experiment, name: str, purpose: str) -> PreTrainedModel:
    """One component as a hybrid on its own path; `purpose` seeds its head."""
    net = exp.supernet(name, "softmax", purpose, alone=True)
    return discretize(net, [name] * exp.space.stages, **exp.task.config_fields())


def searched_relaxation(recipe: Recipe) -> str:
    """Name of the relaxation of a search: the strategy's, if it needs one, else the recipe's."""
    return strategies[recipe.search.strategy].relaxation or recipe.search.relaxation


def finish_search(supernet: Supernet) -> None:
    """Set the progress that relaxations may depend on to 1, also if the search was finished in an earlier run."""
    supernet.progress = 1.0


def run_search(exp: Experiment, base: str) -> PhaseResult[Supernet]:
    """Search: train the weights and alphas of a supernet by the strategy of the recipe."""
    options = exp.recipe.search
    strategy = build_strategy(options.strategy, options.strategy_options)
    relaxation = searched_relaxation(exp.recipe)
    if isinstance(strategy, TrainingFree):
        return _score_candidates(exp, base, strategy, relaxation)
    if isinstance(strategy, PathStrategy):
        return search_paths(exp, base, strategy, finetune_stream(exp), FINETUNE)
    searching = exp.for_search()
    if searching is not exp:
        info(exp.console, f"search: on {searching.task.describe()}")
    search = searching.train(
        "search",
        lambda: build_aligned_supernet(exp, base, relaxation, "search"),
        lambda net: SearchModule(
            net, options=options, loop=searching.loop(calibration_tokens(exp, base)), cost=cost_penalty(exp, net)
        ),
        lambda: {
            name: searching.stream(splits, options.batch_size, f"search {name}")
            for name, splits in strategy.streams.items()
        },
        [AlphaRecord(exp.run_dir.alphas)],
    )
    finish_search(search.net)
    save_sizes(search.net, exp.run_dir.root, exp.console)
    return replace(search, task=exp.task)


def _score_candidates(exp: Experiment, base: str, strategy: TrainingFree, relaxation: str) -> PhaseResult[Supernet]:
    """A search that trains nothing: the strategy sets the alphas from a few batches."""
    started = time.monotonic()
    net = build_aligned_supernet(exp, base, relaxation, "search")
    batches = first_batches(exp, exp.recipe.search.strategy, strategy.batches)
    device = exp.hardware.device
    alphas, scores = strategy.search(net.to(device), [batch_to(batch, device) for batch in batches])
    net.to("cpu")
    net.set_alphas(alphas)
    tokens = calibration_tokens(exp, base) + sum(int(batch["attention_mask"].sum()) for batch in batches)
    return replace(exp.keep("search", net, tokens, time.monotonic() - started), stage_scores=scores)


def first_batches(exp: Experiment, purpose: str, count: int) -> list[Batch]:
    """The first batches of the split `train_arch`, at most one epoch."""
    stream = exp.for_search().stream(("train_arch",), exp.recipe.search.batch_size, purpose)
    return [stream.batch(step) for step in range(min(count, stream.per_epoch))]


def finetune(
    exp: Experiment, search: PhaseResult[Supernet], discrete: PreTrainedModel, phase: str = FINETUNE
) -> PhaseResult[PreTrainedModel]:
    """Train a discrete hybrid, from the weights that the recipe's `finetune.init` names.

    If the search trained the path by itself, the training continues from its checkpoint. Another path that starts from
    the components was not searched, so it is trained on the tokens of the search too.

    Args:
        exp: the run.
        search: the search, with the supernet.
        discrete: a path of it with its weights; it is not changed.
        phase: name of the phase.
    """
    options, supernet = exp.recipe.finetune, search.net
    from_components = starts_from_components(exp.recipe)
    steps = matched_steps(exp.recipe, exp.search_length) if from_components and phase != FINETUNE else options.steps
    if phase == FINETUNE and search.finetune_steps is not None:
        steps = search.finetune_steps

    def build() -> PreTrainedModel:
        if not from_components:
            return deepcopy(discrete)
        untrained = build_aligned_supernet(exp, supernet.base, "softmax", "search")
        decide_sizes(untrained, {name: int(layer.choice) for name, layer in searched_layers(supernet).items()})
        return discretize(untrained, discrete.config.path, **exp.task.config_fields())

    trained = exp.train(
        phase,
        build,
        lambda net: TrainModule(net, options.weights, steps, exp.loop(), loss=_finetune_loss(exp, net, supernet)),
        partial(finetune_stream, exp),
    )
    trained.net.config.exits = list(options.exits) or None
    supernet.to("cpu")  # where it was before it was a teacher
    return trained


def _finetune_loss(exp: Experiment, net: PreTrainedModel, supernet: Supernet) -> LossFunction | None:
    """The loss of the fine-tuning of a path; None: cross-entropy."""
    exits = exp.recipe.finetune.exits
    return ExitLoss(net, exits) if exits else teacher_loss(exp, supernet)


def starts_from_components(recipe: Recipe) -> bool:
    """Whether the training of a path starts from the components, and not from the weights of a supernet."""
    return recipe.finetune.init == "components" or issubclass(strategies[recipe.search.strategy], PathStrategy)


def train_controls(
    exp: Experiment, search: PhaseResult[Supernet], path: Sequence[str]
) -> dict[str, PhaseResult[Supernet] | PhaseResult[PreTrainedModel]]:
    """Train the controls of the recipe: the uniform mixture, a random path of the same supernet, and placements."""
    supernet = search.net
    controls: dict[str, PhaseResult[Supernet] | PhaseResult[PreTrainedModel]] = {}
    if exp.recipe.baselines.uniform:
        options, steps = exp.recipe.finetune, matched_steps(exp.recipe, exp.search_length)
        controls[UNIFORM_MIXTURE] = exp.train(
            UNIFORM_MIXTURE,
            lambda: build_aligned_supernet(exp, supernet.base, "fixed", "search"),
            lambda net: TrainModule(net, options.weights, steps, exp.loop()),
            partial(finetune_stream, exp),
        )
    if exp.recipe.baselines.random and (drawn := random_path(exp, supernet, path)) is not None:
        discrete = discretize(supernet, drawn, **exp.task.config_fields())
        info(exp.console, f"  random path: {path_text(drawn)}")
        controls[RANDOM_PATH] = finetune(exp, search, discrete, RANDOM_PATH)
    for name, placed in placed_paths(exp, search).items():
        info(exp.console, f"  {name}: {path_text(placed)}")
        controls[name] = finetune(exp, search, discretize(supernet, placed, **exp.task.config_fields()), name)
    return controls


def placed_paths(exp: Experiment, search: PhaseResult[Supernet]) -> dict[str, PathNames]:
    """The placements of the recipe by their names. That of `replace-one` takes the validation loss alone."""
    if not exp.recipe.baselines.placements:
        return {}
    net, budget, searching = search.net, path_budget(exp), exp.for_search()

    def alone() -> PathNames:
        measured = search.text_loss or (lambda path: searching.score(net, "val", path=path).loss)
        return tuple(replaced_scores(net.choices, net.base, measured).best(net, budget))

    rng = random.Random(exp.seed("placements"))
    return placements(net, budget, exp.recipe.baselines.placements, rng, alone)


def random_path(exp: Experiment, supernet: Supernet, path: Sequence[str]) -> list[str] | None:
    """A path drawn uniformly from all but `path`, the base alone and those without a segment; None if there is none."""
    excluded = {tuple(path), (SKIP,) * len(path), (supernet.base,) * len(path)}
    if all(candidate in excluded for candidate in islice(supernet.choices.paths(), len(excluded) + 1)):
        return None
    rng = random.Random(exp.seed("random path"))
    while True:
        drawn = supernet.choices.random_path(rng)
        if tuple(drawn) not in excluded:
            return drawn
