"""`manticore report`: the page of a finished run or study."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.flags import REPORT
from manticore.config.model_commands import ReportCommand


def add(commands: Any) -> None:
    """Add `manticore report` to the subparsers."""
    command(
        commands,
        "report",
        ReportCommand,
        REPORT,
        run,
        "write the report page of a search, a comparison or a transfer again",
        examples=("manticore report runs/first",),
        notes="A fine-tuning and a pretraining have no page; their scores are in scores.json.",
    )


def run(options: ReportCommand) -> None:
    """Write the page and print where it is."""
    from manticore.pipelines import report

    print(report.run(options.folder))
