"""Model selection: choice of the base, of the path and of the best model. The test split is not read."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from manticore.config.recipe import Recipe
from manticore.experiment.bit_front import find_bit_front
from manticore.experiment.bits import LOSS_SELECTORS, select_with_bits
from manticore.experiment.budget import path_budget
from manticore.experiment.experiment import Experiment, PhaseResult
from manticore.experiment.objective import Measured, Objective
from manticore.experiment.pareto import find_front
from manticore.experiment.phases import first_batches
from manticore.experiment.projectors import base_of_projector_set, build_aligned_supernet, uses_closed_form
from manticore.experiment.search_warnings import search_warnings
from manticore.nas.bits import BitPath
from manticore.nas.choices import PathNames
from manticore.nas.cost import PathCosts
from manticore.nas.resources import parse_objectives
from manticore.nas.selection import Budget, Difference, PathScores, SelectionContext, selectors
from manticore.nas.selection.largest_weight import LARGEST_WEIGHT
from manticore.nas.strategies import PathStrategy, strategies
from manticore.nas.strategies.zero_shot import ZeroShot, mean_stage_kl
from manticore.nas.supernet import Supernet
from manticore.results.path_scores import SavedScores
from manticore.results.search import HYBRID
from manticore.training.batching import batch_to
from manticore.training.scoring import Score
from manticore.utils.console import ProgressUpdate, info, progress_bar

Phase = PhaseResult[Any]

SLOW = 5
"""Seconds of an evaluation above which its time is printed."""


class Choice(NamedTuple):
    """The name of what was chosen, and the reason as text."""

    name: str
    reason: str


def choose_base(exp: Experiment, solo: dict[str, Phase]) -> Choice:
    """The base model: that of `given_base`, or the component with the best validation score alone."""
    if (known := given_base(exp)) is not None:
        return known
    if not solo:
        return Choice(exp.space.names[0], "the first of the components; they were not trained alone")
    scores = {name: val_score(exp, phase) for name, phase in solo.items()}
    best = max(scores, key=lambda name: scores[name].sort_key)
    return Choice(best, f"best alone on the validation split: {_listed(scores)}")


def given_base(exp: Experiment) -> Choice | None:
    """The base if it is known before training: that of the search space or of the projector set, or by `min_kl`."""
    if exp.space.base is not None:
        return Choice(exp.space.base, "set by the user")
    if not exp.task.is_language_modeling:
        return None
    if exp.recipe.align.projectors is not None:
        return Choice(base_of_projector_set(exp), "the base of the projector set")
    if exp.recipe.selection.base_criterion != "min_kl" or not uses_closed_form(exp.recipe):
        return None
    divergences = {name: base_divergence(exp.for_component(name), name) for name in exp.space.names}
    best = min(divergences, key=lambda name: divergences[name])
    values = ", ".join(f"{name} {kl:.3f}" for name, kl in divergences.items())
    return Choice(best, f"smallest mean KL when a donor replaces one stage, in nats per token: {values}")


def base_divergence(exp: Experiment, base: str) -> float:
    """Mean KL of the base's predictions when a donor replaces one stage, in nats per token."""
    device = exp.hardware.device
    net = build_aligned_supernet(exp, base, exp.recipe.search.relaxation, "search").to(device)
    batches = first_batches(exp, "zero-shot", ZeroShot.batches)
    return mean_stage_kl(net, [batch_to(batch, device) for batch in batches])


def select_path(exp: Experiment, search: PhaseResult[Supernet]) -> list[str]:
    """The best path by its score within the budget, with a line for each reason to doubt the choice.

    Raises ManticoreError if no path is within the budget.
    """
    budget, bits = path_budget(exp), exp.recipe.selection.bits
    if bits:
        full, budget = budget, budget.without("weight_bytes")
        choice = select_with_bits(exp.for_search(), search.net, score_paths(exp, search, budget), full, bits)
        info(exp.console, choice.summary)
        path, search.bits = list(choice.chosen.path), choice.chosen.bits
    else:
        path = score_paths(exp, search, budget).best(search.net, budget)
    search.warnings = search_warnings(exp, search, path, budget)
    for warning in search.warnings:
        info(exp.console, f"warning: {warning}")
    return path


def save_scores(exp: Experiment, search: PhaseResult[Supernet], path: Sequence[str]) -> None:
    """Write the scores of paths, and the Pareto front of `selection.pareto`, into the run folder."""
    assert search.path_scores is not None
    trains_paths = issubclass(strategies[exp.recipe.search.strategy], PathStrategy)
    selector = exp.recipe.search.strategy if trains_paths else selector_of(exp.recipe)
    is_loss = selector in LOSS_SELECTORS and not exp.recipe.selection.recall
    saved = SavedScores.of(search.path_scores, search.net.candidates, selector, is_loss)
    saved.save(exp.run_dir.root)
    if exp.recipe.selection.pareto:
        objectives, budget, bits = exp.recipe.selection.pareto, path_budget(exp), exp.recipe.selection.bits
        chosen = BitPath(tuple(path), search.bits)
        front = (
            find_bit_front(exp.for_search(), search.net, saved, objectives, bits, budget, chosen)
            if bits
            else find_front(exp, search.net, saved, objectives, budget, chosen.path)
        )
        front.save(exp.run_dir.root)


def score_paths(exp: Experiment, search: PhaseResult[Supernet], budget: Budget) -> PathScores:
    """The scores of paths, computed once for a search, by a strategy that trains paths or else by the selector."""
    if search.path_scores is None:
        search.path_scores = _scores_by_selector(exp, search, budget)
    return search.path_scores


def selector_of(recipe: Recipe) -> str:
    """Name of the selector of a recipe; for `auto` that of its strategy."""
    name = recipe.selection.selector
    return strategies[recipe.search.strategy].selector if name == "auto" else name


def _scores_by_selector(exp: Experiment, search: PhaseResult[Supernet], budget: Budget) -> PathScores:
    name, validation = selector_of(exp.recipe), Validation(exp.for_search(), search.net)
    rng = random.Random(exp.seed("selection"))
    front = parse_objectives(exp.recipe.selection.pareto)[1] if exp.recipe.selection.pareto else ()
    context = SelectionContext(budget, validation.loss, rng, validation.difference, front)
    with progress_bar("select: paths evaluated", None, console=exp.console) as validation.advance:
        scores = selectors[name](search.net, context)
    if name != LARGEST_WEIGHT:
        search.compare, search.text_loss = validation.difference, validation.text_loss
    return scores


class Validation:
    """The objective of a supernet and of its paths. A path is evaluated once.

    Args:
        exp: the run on the task of the search.
        net: the supernet.
    """

    def __init__(self, exp: Experiment, net: Supernet) -> None:
        self.exp, self.net = exp, net
        self.objective = Objective(exp)
        self.advance: ProgressUpdate = _silent
        self._measured: dict[PathNames, Measured] = {}

    def loss(self, **options: Any) -> float:
        """The objective in nats with options of the supernet's forward pass; infinite if it is not a number."""
        path = options.get("path")
        return (self.objective.measure(self.net, **options) if path is None else self._of(tuple(path))).value

    def text_loss(self, path: PathNames) -> float:
        """The loss of a path on the validation split alone, in nats."""
        return self._of(path).text.loss

    def difference(self, path: PathNames, rival: PathNames) -> Difference | None:
        """The difference of the objectives of two paths, paired over the examples."""
        return self.objective.difference(self._of(path).losses, self._of(rival).losses)

    def _of(self, path: PathNames) -> Measured:
        if path not in self._measured:
            started = time.monotonic()
            self._measured[path] = self.objective.measure(self.net, path=path)
            seconds, count = time.monotonic() - started, len(self._measured)
            if count == 1 and seconds > SLOW:
                info(self.exp.console, f"select: the first path took {seconds:.0f} s to evaluate")
            self.advance(count, f"{seconds:.1f} s each")
        return self._measured[path]


def _silent(completed: int, note: str = "") -> None:
    """Shows no progress."""


def val_score(exp: Experiment, phase: Phase) -> Score:
    """The score on the validation split, computed once for each phase."""
    if "val" not in phase.scores:
        phase.scores["val"] = exp.score(phase.net, "val", phase.task)
    return phase.scores["val"]


def choose_best(exp: Experiment, hybrid: Phase, solo: dict[str, Phase]) -> Choice:
    """The best model by validation score: the hybrid, or a component within the budget that scores better."""
    score = val_score(exp, hybrid)
    reason = f"on the validation split {_value(score)}"
    if not solo:
        return Choice(HYBRID, f"{reason}; components were not trained alone")
    scores = {name: val_score(exp, phase) for name, phase in solo.items() if within_budget(exp, name)}
    if not scores:
        return Choice(HYBRID, f"{reason}; no component alone is within the budget")
    best = max(scores, key=lambda name: scores[name].sort_key)
    reason += f", best component {best} {_value(scores[best])}"
    if scores[best].sort_key > score.sort_key:
        return Choice(best, reason)
    return Choice(HYBRID, reason)


def within_budget(exp: Experiment, name: str) -> bool:
    """Whether a component alone costs what the recipe's selection allows."""
    budget, costs = path_budget(exp), PathCosts(exp.skeleton(name, alone=True), exp.task.max_length)
    return budget.allows(costs, [name] * exp.space.stages)


def _listed(scores: dict[str, Score]) -> str:
    return ", ".join(f"{name} {_value(score)}" for name, score in scores.items())


def _value(score: Score) -> str:
    return score.metric.format(score.value)
