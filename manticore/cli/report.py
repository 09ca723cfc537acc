"""`manticore report`: the page of a run or a study."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.flags import REPORT, WATCH
from manticore.config.model_commands import ReportCommand
from manticore.utils.streams import write_now


def add(commands: Any) -> None:
    """Add `manticore report` to the subparsers."""
    command(
        commands,
        "report",
        ReportCommand,
        {**REPORT, **WATCH},
        run,
        "write the report page of a search, a comparison or a transfer again, or follow one that runs",
        examples=(
            "manticore report runs/first",
            "manticore report runs/first --analyze",
            "manticore report runs/first --watch --open",
        ),
        notes="A pretraining has no page, a fine-tuning has one after --analyze or --leave-one-out; their scores are "
        "in scores.json. With --watch the page is served on 127.0.0.1, to this machine alone; while the run goes on it "
        "shows its phases, losses and mixing weights, and says if its process was killed.",
    )


def run(options: ReportCommand) -> None:
    """Write the page and print where it is, or serve it until Ctrl-C."""
    from manticore.pipelines import report, watch
    from manticore.utils.console import make_console

    if options.watch:
        watch.run(options, write_now)
    else:
        print(report.run_command(options, make_console()))
