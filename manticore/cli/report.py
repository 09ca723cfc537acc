"""`manticore report`: the page of a run or a contest, anew."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from manticore.cli.parsing import command


def add(commands: Any) -> None:
    """The words of `manticore report`."""
    summary = "write the report page of a search, a comparison or a programming anew"
    made = command(commands, "report", run, summary, "manticore report runs/first")
    made.add_argument("folder", type=Path, metavar="DIR", help="run folder, or --out of compare or program")


def run(given: argparse.Namespace) -> None:
    """`manticore report`."""
    from manticore.report.contest import write_contest
    from manticore.report.page import write_report
    from manticore.report.program import write_program
    from manticore.runs.folder import finished_run

    for file, write in {"comparison.json": write_contest, "program.json": write_program}.items():
        if (given.folder / file).exists():
            print(write(given.folder))
            return
    print(write_report(finished_run(given.folder).root))
