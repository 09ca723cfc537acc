"""Every choice of a search, each made on the validation split or on alphas, never on test."""

from __future__ import annotations

import math
from itertools import combinations

from manticore.errors import ManticoreError
from manticore.experiment.experiment import Experiment, PhaseResult
from manticore.experiment.projectors import base_of_projector_set, uses_closed_form
from manticore.experiment.zero_shot import mean_stage_kl
from manticore.nas.cost import branch_costs, fixed_costs, flops, parameters, path_parameters, position_costs
from manticore.nas.selection import best_path
from manticore.nas.supernet import Supernet
from manticore.training.scoring import Score


def choose_base(exp: Experiment, alone: dict[str, PhaseResult]) -> tuple[str, str]:
    """Who is base, and why."""
    settled = given_base(exp)
    if settled is not None:
        return settled
    if not alone:
        return exp.space.names[0], "named first; components were not trained alone"
    scores = {name: val_score(exp, trained) for name, trained in alone.items()}
    best = max(scores, key=lambda name: scores[name].sort_key)
    told = ", ".join(f"{name} {held.metric.format(held.value)}" for name, held in scores.items())
    return best, f"best alone on the validation split: {told}"


def given_base(exp: Experiment) -> tuple[str, str] | None:
    """Who is base, and why, where that can be told before anything is trained."""
    if exp.space.base is not None:
        return exp.space.base, "you asked for it"
    if exp.recipe.align.projectors is not None and exp.task.is_language_modeling:
        return base_of_projector_set(exp), "the projectors were fitted to it"
    if (
        exp.recipe.selection.base_criterion != "min_kl"
        or not exp.task.is_language_modeling
        or not uses_closed_form(exp.recipe)
    ):
        return None
    costs = {name: mean_stage_kl(exp, name) for name in exp.space.names}
    told = ", ".join(f"{name} {cost:.3f}" for name, cost in costs.items())
    why = f"a stage by another moves its predictions least, in nats a token: {told}"
    return min(costs, key=lambda name: costs[name]), why


def val_score(exp: Experiment, held: PhaseResult) -> Score:
    """The score on the validation split, found once for each trained model."""
    if "val" not in held.scores:
        held.scores["val"] = exp.score(held.net, "val", held.task)
    return held.scores["val"]


def select_path(exp: Experiment, supernet: Supernet) -> list[str]:
    """The path with the largest product of mixing weights, within the budget if there is one."""
    options = exp.recipe.selection
    scores = [[math.log(max(w, 1e-30)) for w in row] for row in supernet.weights().tolist()]
    limit = parameter_budget(exp)
    if limit is None and options.max_flops is None:
        return [supernet.candidates[choice] for choice in best_path(scores)]
    return _select_within(supernet, scores, limit, options.max_flops, exp.task.max_length)


def parameter_budget(exp: Experiment) -> float | None:
    """The budget of parameters: what is asked for, or the largest component's if that is; None for no limit."""
    limit = exp.recipe.selection.max_parameters
    if limit != "largest_component":
        return limit
    return largest_component_parameters(exp) if exp.recipe.selection.max_flops is None else None


def largest_component_parameters(exp: Experiment) -> float:
    """Parameters of the largest component alone, with the ends it has on this task."""
    space, length = exp.space, exp.task.max_length
    bases = ((name, exp.supernet(name, "softmax", "count")) for name in space.names)
    return max(path_parameters(supernet, [name] * space.stages, length) for name, supernet in bases)


def _select_within(
    supernet: Supernet, scores: list[list[float]], max_parameters: float | None, max_flops: float | None, length: int
) -> list[str]:
    """The best path under one budget; exact, also where a donor component brings a position table of its own."""
    parameter_table, flop_table = branch_costs(supernet, length)
    fixed_parameters, fixed_flops = fixed_costs(supernet, length)
    if max_flops is not None:
        chosen = best_path(scores, flop_table, max_flops, fixed_flops)
        return [supernet.candidates[choice] for choice in chosen]
    assert max_parameters is not None
    carriers = position_costs(supernet)
    best: tuple[float, tuple[int, ...]] | None = None
    refusal: ManticoreError | None = None
    for held in (set(group) for size in range(len(carriers) + 1) for group in combinations(carriers, size)):
        # A position table is paid once however many stages use it: fix who may be used, then costs add up again.
        allowed = [i for i, name in enumerate(supernet.candidates) if name not in carriers or name in held]
        tables = sum(carriers[name] for name in held)
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


def choose_export(exp: Experiment, tuned: PhaseResult, alone: dict[str, PhaseResult]) -> tuple[str, str]:
    """What is exported, and why: the hybrid, or the best component if that is better on the validation split."""
    hybrid = val_score(exp, tuned)
    told = f"on the validation split {hybrid.metric.format(hybrid.value)}"
    if not alone:
        return "hybrid", f"{told}; components were not trained alone"
    affordable = {name: held for name, held in alone.items() if within_budget(exp, held)}
    scores = {name: val_score(exp, held) for name, held in affordable.items()}
    if not scores:
        return "hybrid", f"{told}; no component alone is within the budget"
    best = max(scores, key=lambda name: scores[name].sort_key)
    told += f", best component {best} {scores[best].metric.format(scores[best].value)}"
    if scores[best].sort_key > hybrid.sort_key and exp.recipe.selection.fallback_to_component:
        return best, told
    return "hybrid", told


def within_budget(exp: Experiment, held: PhaseResult) -> bool:
    """Whether a trained model costs no more than the selection allows."""
    options = exp.recipe.selection
    limit = options.max_parameters if options.max_parameters != "largest_component" else None  # no component exceeds it
    cheap = limit is None or parameters(held.net) <= limit
    return cheap and (options.max_flops is None or flops(held.net, exp.task.max_length) <= options.max_flops)
