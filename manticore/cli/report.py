"""`manticore report`: the page of a run, anew."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from manticore.cli.parsing import command


def add(commands: Any) -> None:
    """The words of `manticore report`."""
    made = command(commands, "report", run, "write the report page of a run anew", "manticore report runs/first")
    made.add_argument("folder", type=Path, metavar="RUN", help="run folder")


def run(given: argparse.Namespace) -> None:
    """`manticore report`."""
    from manticore.report.page import write_report
    from manticore.runs.folder import finished_run

    print(write_report(finished_run(given.folder).root))
