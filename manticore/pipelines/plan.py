"""`manticore plan`: what a search would train, in which order, and what that takes. Nothing is trained or written."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from manticore.config.commands import PlanCommand
from manticore.config.loading import load_command
from manticore.experiment.checks import check_experiment
from manticore.experiment.experiment import Experiment
from manticore.experiment.plan import Plan, PlannedPhase, plan_search
from manticore.experiment.run_dir import RunDir
from manticore.pipelines.search import print_summary
from manticore.report.table import Row, Table
from manticore.utils.console import info
from manticore.utils.formatting import DASH, byte_size, count, duration


def run(options: PlanCommand, console: Console) -> Plan:
    """Check the recipe of a command as a search does, and measure a few steps of each phase.

    Raises ManticoreError if the recipe is wrong or cannot be carried out.
    """
    recipe, reason = load_command(options)
    with TemporaryDirectory(prefix="manticore-plan-") as folder:
        exp = Experiment.open(recipe, RunDir(Path(folder)), console, preset_reason=reason)
        exp = exp.for_component(exp.space.base or exp.space.names[0])
        check_experiment(exp)
        print_summary(exp)
        plan = plan_search(exp)
    console.print(plan_table(plan).rich())
    for note in plan.notes:
        info(console, note)
    device = "GPU memory" if exp.hardware.accelerator == "cuda" else "memory"
    info(
        console,
        f"about {duration(plan.seconds)} on this machine ({exp.hardware.accelerator}), {byte_size(plan.peak_bytes)} of "
        f"{device} at the peak, {byte_size(plan.disk_bytes)} on disk",
    )
    return plan


def plan_table(plan: Plan) -> Table:
    """One row for each phase, in their order."""
    columns = ("phase", "trains", "steps", "peak rate", "tokens", "FLOPs", "time", "memory")
    return Table(columns, tuple(Row(_cells(phase)) for phase in plan.phases), "what the search will do")


def _cells(phase: PlannedPhase) -> tuple[str, ...]:
    trains = phase.steps > 0
    return (
        phase.name,
        count(phase.parameters) if trains else DASH,
        f"{phase.steps:,}" if trains else DASH,
        f"{phase.lr:g}" if trains else DASH,
        count(phase.tokens) if trains else DASH,
        count(phase.flops) if trains else DASH,
        duration(phase.seconds),
        byte_size(phase.peak_bytes),
    )
