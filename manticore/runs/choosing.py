"""Every choice of a search, each made on the model-choice split or on alphas, never on test."""

from __future__ import annotations

import math
from itertools import combinations

from manticore.cost import branch_costs, fixed_costs, flops, foreign_tables, parameters, path_parameters
from manticore.errors import ManticoreError
from manticore.recipe import OPEN
from manticore.runs.aligning import fits_own, home_of_set
from manticore.runs.ranking import openness
from manticore.runs.workshop import Trained, Workshop
from manticore.selection import best_path
from manticore.supernet import Supernet
from manticore.tasks.language import LanguageTask
from manticore.training.scoring import Score


def choose_home(shop: Workshop, alone: dict[str, Trained]) -> tuple[str, str]:
    """Who is home, and why."""
    settled = settled_home(shop)
    if settled is not None:
        return settled
    if not alone:
        return shop.space.names[0], "named first; components were not trained alone"
    scores = {name: choice_score(shop, trained) for name, trained in alone.items()}
    best = max(scores, key=lambda name: scores[name].goodness)
    told = ", ".join(f"{name} {held.words}" for name, held in scores.items())
    return best, f"best alone on the model-choice split: {told}"


def settled_home(shop: Workshop) -> tuple[str, str] | None:
    """Who is home, and why, where that can be told before anything is trained."""
    if shop.space.home is not None:
        return shop.space.home, "you asked for it"
    if shop.recipe.align.projectors is not None and isinstance(shop.task, LanguageTask):
        return home_of_set(shop), "the projectors were fitted to it"
    if shop.recipe.selection.home != OPEN or not isinstance(shop.task, LanguageTask) or not fits_own(shop.recipe):
        return None
    costs = {name: openness(shop, name) for name in shop.space.names}
    told = ", ".join(f"{name} {cost:.3f}" for name, cost in costs.items())
    why = f"a stage by another moves its predictions least, in nats a token: {told}"
    return min(costs, key=lambda name: costs[name]), why


def choice_score(shop: Workshop, held: Trained) -> Score:
    """The score on the model-choice split, found once for each trained model."""
    if "choice" not in held.scores:
        held.scores["choice"] = shop.score(held.net, "choice", held.task)
    return held.scores["choice"]


def select(shop: Workshop, supernet: Supernet) -> list[str]:
    """The path with the largest product of mixing weights, within the budget if there is one."""
    options = shop.recipe.selection
    scores = [[math.log(max(w, 1e-30)) for w in row] for row in supernet.weights().tolist()]
    limit = most_parameters(shop)
    if limit is None and options.max_flops is None:
        return [supernet.candidates[choice] for choice in best_path(scores)]
    return _select_within(supernet, scores, limit, options.max_flops, shop.task.max_length)


def most_parameters(shop: Workshop) -> float | None:
    """The budget of parameters: what is asked for, or the largest component's if that is; None for no limit."""
    options = shop.recipe.selection
    if options.max_parameters is None and options.max_flops is None and options.within_largest:
        return largest_component(shop)
    return options.max_parameters


def largest_component(shop: Workshop) -> float:
    """Parameters of the largest component alone, with the ends it has on this task."""
    space, length = shop.space, shop.task.max_length
    homes = ((name, shop.supernet(name, "softmax", "count")) for name in space.names)
    return max(path_parameters(supernet, [name] * space.stages, length) for name, supernet in homes)


def _select_within(
    supernet: Supernet, scores: list[list[float]], max_parameters: float | None, max_flops: float | None, length: int
) -> list[str]:
    """The best path under one budget; exact, also where a foreign component brings a position table of its own."""
    parameter_table, flop_table = branch_costs(supernet, length)
    fixed_parameters, fixed_flops = fixed_costs(supernet, length)
    if max_flops is not None:
        chosen = best_path(scores, flop_table, max_flops, fixed_flops)
        return [supernet.candidates[choice] for choice in chosen]
    assert max_parameters is not None
    carriers = foreign_tables(supernet)
    best: tuple[float, tuple[int, ...]] | None = None
    refusal: ManticoreError | None = None
    for held in (set(group) for size in range(len(carriers) + 1) for group in combinations(carriers, size)):
        # A position table is paid once however many stages use it: fix who may be used, then costs add up again.
        allowed = [i for i, name in enumerate(supernet.candidates) if name not in carriers or name in held]
        tables = sum(parameters(supernet.positions[name]) for name in held)
        rows = [[row[i] for i in allowed] for row in scores]
        costs = [[row[i] for i in allowed] for row in parameter_table]
        try:
            inner = best_path(rows, costs, max_parameters, fixed_parameters + tables)
        except ManticoreError as error:
            refusal = refusal or error
            continue
        chosen = tuple(allowed[i] for i in inner)
        total = sum(row[i] for row, i in zip(scores, chosen, strict=True))
        if best is None or total > best[0]:
            best = (total, chosen)
    if best is None:
        assert refusal is not None
        raise refusal
    return [supernet.candidates[choice] for choice in best[1]]


def weigh_home(shop: Workshop, tuned: Trained, alone: dict[str, Trained]) -> tuple[str, str]:
    """What is exported, and why: the hybrid, or the best component if that is better on the model-choice split."""
    hybrid = choice_score(shop, tuned)
    told = f"on the model-choice split {hybrid.words}"
    if not alone:
        return "hybrid", f"{told}; components were not trained alone"
    affordable = {name: held for name, held in alone.items() if within_budget(shop, held)}
    scores = {name: choice_score(shop, held) for name, held in affordable.items()}
    if not scores:
        return "hybrid", f"{told}; no component alone is within the budget"
    best = max(scores, key=lambda name: scores[name].goodness)
    told += f", best component {best} {scores[best].words}"
    if scores[best].goodness > hybrid.goodness and shop.recipe.selection.weigh_home:
        return best, told
    return "hybrid", told


def within_budget(shop: Workshop, held: Trained) -> bool:
    """Whether a trained model costs no more than the selection allows."""
    options = shop.recipe.selection
    cheap = options.max_parameters is None or parameters(held.net) <= options.max_parameters
    return cheap and (options.max_flops is None or flops(held.net, shop.task.max_length) <= options.max_flops)
