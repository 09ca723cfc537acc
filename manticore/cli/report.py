"""`manticore report`: the page of a run or a study, anew."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from manticore.cli.options import command


def add(commands: Any) -> None:
    """The words of `manticore report`."""
    summary = "write the report page of a search, a comparison or a programming anew"
    made = command(commands, "report", run, summary, "manticore report runs/first")
    made.add_argument("folder", type=Path, metavar="DIR", help="run folder, or --out of compare or program")


def run(given: argparse.Namespace) -> None:
    """`manticore report`."""
    from manticore.experiment.run_dir import finished_run
    from manticore.report.run.page import write_run_report
    from manticore.report.study.page import write_study_report
    from manticore.report.transfer.page import write_transfer_report

    for file, write in {"comparison.json": write_study_report, "program.json": write_transfer_report}.items():
        if (given.folder / file).exists():
            print(write(given.folder))
            return
    print(write_run_report(finished_run(given.folder).root))
