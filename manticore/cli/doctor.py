"""`manticore doctor`: what is installed, which devices and kernels there are, and what is missing."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.tool_commands import DoctorCommand


def add(commands: Any) -> None:
    """Add `manticore doctor` to the subparsers."""
    command(
        commands,
        "doctor",
        DoctorCommand,
        {"--hub": "hub"},
        run,
        "print versions, devices, kernels, folders and what is missing, for yourself and for bug reports",
        examples=("manticore doctor", "manticore doctor --no-hub"),
        notes="The home folder is written as ~, and tokens are not printed. Problems are at the end, each with its "
        "remedy; the exit status is 0 with problems too.",
    )


def run(options: DoctorCommand) -> None:
    """Print the report."""
    from manticore.pipelines import doctor

    print(doctor.run(options.hub))
