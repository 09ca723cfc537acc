"""`manticore transfer`: a path from proxy tasks to a target task."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.commands import TransferCommand
from manticore.config.flags import TRANSFER


def add(commands: Any) -> None:
    """Add `manticore transfer` to the subparsers."""
    command(
        commands,
        "transfer",
        TransferCommand,
        TRANSFER,
        run,
        "search on cheap proxy tasks, use the path on a target task, and measure how well the proxies predict it",
        examples=(
            "manticore transfer --models gpt-neo,mamba --stages 2 --proxy mad --task lra-listops --out runs/programmed",
            "manticore transfer --models gpt-neo,mamba --stages 2 --proxy mad --task lra-listops "
            "--target-models ./neo,./ssm --out runs/carried",
        ),
        notes="The paper calls this programming: manticore program is another name of this command. Every path of the "
        "space is trained on the proxies and on the target, so a space may have at most 64 paths. The same --out "
        "again resumes. --config and --set hold for all tasks, --data-dir for the target.",
        aliases=("program",),
    )


def run(options: TransferCommand) -> None:
    """Transfer."""
    from manticore.pipelines import transfer
    from manticore.utils.console import make_console

    transfer.run_command(options, make_console())
