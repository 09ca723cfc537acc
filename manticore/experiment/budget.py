"""The limits on what the hybrid may cost, by the section `selection` of a recipe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from manticore.components import Component
from manticore.experiment.experiment import Experiment
from manticore.modeling.twins import PREFIX
from manticore.nas.cost import PathCosts
from manticore.nas.expected_cost import CostPenalty
from manticore.nas.resources import LARGEST_COMPONENT, Limit, Resource, parse_limits
from manticore.nas.selection import Budget
from manticore.nas.supernet import Supernet


def path_budget(exp: Experiment) -> Budget:
    """The limits of the recipe's selection, at the longest sequence of the task where they name no length."""
    options = exp.recipe.selection
    largest, smallest = parse_limits(options.max, "selection.max"), parse_limits(options.min, "selection.min")
    return Budget(with_numbers(exp, largest), with_numbers(exp, smallest), exp.task.max_length)


def cost_penalty(exp: Experiment, net: Supernet) -> CostPenalty | None:
    """The term of the alphas' loss for the recipe's limits; None without a coefficient."""
    weight, budget = exp.recipe.search.cost_weight, path_budget(exp)
    if not weight:
        return None
    bounds = budget.bounds(PathCosts(net, budget.length))
    return CostPenalty([*bounds.values()], net.choices, weight)


def component_cost(exp: Experiment, name: str, resource: Resource) -> float:
    """What a component alone costs, with the embedding and head that it has on this task."""
    costs = PathCosts(exp.skeleton(name, alone=True), exp.task.max_length)
    return costs.cost([name] * exp.space.stages, resource)


def largest_component_cost(exp: Experiment, resource: Resource) -> float:
    """The cost of the most expensive component alone."""
    return max(component_cost(exp, name, resource) for name in exp.space.names)


def reference_cost(exp: Experiment, resource: Resource) -> float:
    """What 100 % of a resource is: the cost of the parent of a twin alone, else of the base, else of the largest."""
    parents = [
        component.name
        for component in exp.components
        if any(_is_twin(twin) and component.shares_stream(twin) for twin in exp.components if twin is not component)
        and not _is_twin(component)
    ]
    names = parents or ([exp.space.base] if exp.space.base else exp.space.names)
    return max(component_cost(exp, name, resource) for name in names)


def _is_twin(component: Component) -> bool:
    return str(component.config.model_type).startswith(PREFIX)


def with_numbers(exp: Experiment, limits: Sequence[Limit]) -> tuple[Limit, ...]:
    """The limits with costs of components and percentages of them computed."""

    def number(limit: Limit) -> float | str:
        if limit.value == LARGEST_COMPONENT:
            return largest_component_cost(exp, limit.resource)
        return limit.value if limit.share is None else limit.share * reference_cost(exp, limit.resource)

    return tuple(replace(limit, value=number(limit)) for limit in limits)
