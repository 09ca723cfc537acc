"""`manticore plan`: what a search would train, in which order, and what that takes. Nothing is trained or written."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from manticore.config.commands import PlanCommand
from manticore.config.loading import load_command
from manticore.experiment.checks import check_experiment
from manticore.experiment.experiment import Experiment
from manticore.experiment.plan import Plan, plan_search
from manticore.experiment.planned import phase_table
from manticore.experiment.run_dir import RunDir
from manticore.pipelines.search import print_summary
from manticore.utils.console import info
from manticore.utils.formatting import byte_size, duration


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
    console.print(phase_table(plan.phases, measured=True).rich())
    for note in plan.notes:
        info(console, note)
    device = "GPU memory" if exp.hardware.accelerator == "cuda" else "memory"
    info(
        console,
        f"about {duration(plan.seconds)} on this machine ({exp.hardware.accelerator}), {byte_size(plan.peak_bytes)} of "
        f"{device} at the peak, {byte_size(plan.disk_bytes)} on disk",
    )
    return plan
