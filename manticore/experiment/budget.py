"""The largest cost of the hybrid, by the section `selection` of a recipe."""

from __future__ import annotations

from manticore.experiment.experiment import Experiment
from manticore.nas.cost import PathCosts
from manticore.nas.selection import Budget


def path_budget(exp: Experiment) -> Budget:
    """The largest cost of the hybrid, by the recipe's selection."""
    options, length = exp.recipe.selection, exp.task.max_length
    if options.max_parameters != "largest_component":
        return Budget(options.max_parameters, options.max_flops, length)
    if options.max_flops is not None:
        return Budget(max_flops=options.max_flops, length=length)
    return Budget(max_parameters=largest_component_parameters(exp), length=length)


def largest_component_parameters(exp: Experiment) -> float:
    """Parameters of the largest component alone, with the embedding and head that it has on this task."""
    stages, length = exp.space.stages, exp.task.max_length
    skeletons = {name: exp.skeleton(name, alone=True) for name in exp.space.names}
    return max(PathCosts(net, length).parameters([name] * stages) for name, net in skeletons.items())
