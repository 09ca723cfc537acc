"""`manticore push`: a model on the Hugging Face hub."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.flags import PUSH
from manticore.config.model_commands import PushCommand


def add(commands: Any) -> None:
    """Add `manticore push` to the subparsers."""
    command(
        commands,
        "push",
        PushCommand,
        PUSH,
        run,
        "publish an exported hybrid on the Hugging Face hub, with its card",
        examples=(
            "manticore push runs/text me/my-hybrid --dry-run",
            "manticore push runs/text me/my-hybrid --license apache-2.0",
        ),
        notes="The card gets the base models of the hub, and the name on the hub in its code; results are in its model "
        "index. A token that may write is needed: hf auth login. All files are sent in one commit.",
    )


def run(options: PushCommand) -> None:
    """Publish."""
    from manticore.pipelines import push
    from manticore.utils.console import make_console

    push.run(options, make_console())
