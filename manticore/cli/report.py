"""`manticore report`: the page of a finished run or study."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.commands import ReportCommand

FLAGS = {"folder": "folder"}


def add(commands: Any) -> None:
    """Add `manticore report` to the subparsers."""
    command(
        commands,
        "report",
        ReportCommand,
        FLAGS,
        run,
        "write the report page of a search, a comparison or a transfer again",
        examples=("manticore report runs/first",),
    )


def run(options: ReportCommand) -> None:
    """Write the page and print where it is."""
    from manticore.experiment.run_dir import finished_run
    from manticore.report.run.page import write_run_report
    from manticore.report.run.reading import read_run
    from manticore.report.study.page import write_study_report
    from manticore.report.transfer.page import write_transfer_report

    for file, write in {"comparison.json": write_study_report, "transfer.json": write_transfer_report}.items():
        if (options.folder / file).exists():
            print(write(options.folder))
            return
    print(write_run_report(read_run(finished_run(options.folder).root)))
