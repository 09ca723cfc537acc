"""`manticore chat`: talk with a language model."""

from __future__ import annotations

import sys
from typing import Any

from manticore.cli.options import command
from manticore.config.flags import CHAT
from manticore.config.model_commands import ChatCommand


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

    chat.run(options, _read, _write)


def _read() -> str | None:
    """The next line of the input, with a prompt if it is a terminal; None at its end."""
    if sys.stdin.isatty():
        _write("> ")
    line = sys.stdin.readline()
    return line.rstrip("\n") if line else None


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
