"""Checks of an experiment before its first training step, so that a mistake costs no training time."""

from __future__ import annotations

from manticore.errors import ManticoreError
from manticore.experiment.bits import check_bit_search
from manticore.experiment.budget import path_budget
from manticore.experiment.experiment import Experiment
from manticore.experiment.model_selection import selector_of
from manticore.experiment.objective import Objective
from manticore.experiment.path_search import check_path_search
from manticore.experiment.projectors import check_projectors
from manticore.experiment.teacher import check_language_task, teacher_loss
from manticore.export.custom_code import check_exportable
from manticore.nas.bits import BitCosts
from manticore.nas.cost import PathCosts
from manticore.nas.op_checks import check_ops
from manticore.nas.selection.placements import check_placements
from manticore.nas.strategies import PathStrategy, build_strategy
from manticore.nas.supernet import Supernet
from manticore.training.sharding import NO_ADAPTERS


def check_experiment(exp: Experiment) -> None:
    """Check the ops of the space, and that it can be built, aligned, exported and kept within its budget.

    Raises ManticoreError with the first check that fails.
    """
    space = exp.space
    check_ops(space.ops, _stream_widths(exp), exp.task.kind, exp.task.max_length)
    configs = [component.config for component in exp.components]
    check_exportable(space.projector, space.topology, exp.task.kind, space.ops, configs)
    check_projectors(exp)
    if exp.recipe.selection.recall:
        Objective(exp)  # its probes fit the task
    if exp.recipe.finetune.copies:
        check_language_task(exp.task, "finetune.copies")
    budget = path_budget(exp)
    strategy = build_strategy(exp.recipe.search.strategy, exp.recipe.search.strategy_options)
    if exp.hardware.is_sharded and not strategy.runs_sharded:
        raise ManticoreError(
            f"--strategy {exp.recipe.search.strategy} reads gradients of weights, or runs a path for each example; "
            "--distributed fsdp allows neither, use ddp"
        )
    if exp.hardware.is_sharded and exp.recipe.adapter.name is not None:
        raise ManticoreError(NO_ADAPTERS)
    if exp.recipe.search.has_own_task and isinstance(strategy, PathStrategy):
        raise ManticoreError(
            "search.task_settings and search.shorter_sequences have no use with --strategy "
            f"{exp.recipe.search.strategy}: the fine-tuning continues the training of the selected path; give "
            "--set search.shorter_sequences=false, or another strategy such as per-example"
        )
    trains_paths = isinstance(strategy, PathStrategy)
    check_bit_search(exp.recipe.search.strategy if trains_paths else selector_of(exp.recipe), exp.recipe.selection.bits)
    for base in [space.base] if space.base else space.names:
        net = _skeleton(exp, base)
        if isinstance(strategy, PathStrategy):
            check_path_search(exp, net, strategy)
        strategy.check(net)
        if exp.recipe.baselines.placements:
            check_placements(net)
        teacher_loss(exp.for_component(base))
        exp.for_component(base).for_search()
        bits = exp.recipe.selection.bits
        budget.check(BitCosts(net, budget.length, bits) if bits else PathCosts(net, budget.length))
    if exp.recipe.adapter.name is not None:
        for name in space.names:
            exp.skeleton(name, alone=True)  # every component has a layer with an adapter


def _stream_widths(exp: Experiment) -> list[int]:
    """Widths of the streams that ops may run on: those of the components that may be the base."""
    return [component.width for component in exp.components if exp.space.base in (None, component.name)]


def _skeleton(exp: Experiment, base: str) -> Supernet:
    try:
        return exp.skeleton(base)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:  # of a user's projector or branch
        raise ManticoreError(f"the search space cannot be built with {base} as base: {error}") from None
