"""`manticore chat`: talk with a language model."""

from __future__ import annotations

import sys
from typing import Any

from manticore.cli.options import command
from manticore.config.flags import CHAT
from manticore.config.model_commands import ChatCommand
from manticore.utils.streams import write_now


def add(commands: Any) -> None:
    """Add `manticore chat` to the subparsers."""
    command(
        commands,
        "chat",
        ChatCommand,
        CHAT,
        run,
        "talk with a language model in the terminal, printing its replies as they are generated",
        examples=(
            "manticore chat runs/quickstart",
            "manticore chat my-hybrid --max-new-tokens 100 --temperature 0.7",
        ),
        notes="Turns are written as the tokenizer's chat template has them. Without a template the conversation is one "
        "text that the model continues, as small models that are not tuned for chat do. In the conversation /reset "
        "forgets it, /params shows and changes how tokens are chosen, /help lists commands; Ctrl-C stops a reply.",
    )


def run(options: ChatCommand) -> None:
    """Read lines from standard input and print replies."""
    from manticore.pipelines import chat

    chat.run(options, _read, write_now)


def _read() -> str | None:
    """The next line of the input, with a prompt if it is a terminal; None at its end."""
    if sys.stdin.isatty():
        write_now("> ")
    line = sys.stdin.readline()
    return line.rstrip("\n") if line else None
