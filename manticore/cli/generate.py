"""`manticore generate`: text from a language model."""

from __future__ import annotations

import sys
from typing import Any

from manticore.cli.options import command
from manticore.config.flags import GENERATE
from manticore.config.model_commands import GenerateCommand


def add(commands: Any) -> None:
    """Add `manticore generate` to the subparsers."""
    command(
        commands,
        "generate",
        GenerateCommand,
        GENERATE,
        run,
        "continue a text with a language model, printing it as it is generated",
        examples=(
            "manticore generate runs/first --prompt 'Once upon a time'",
            "manticore generate my-hybrid --prompt-file story.txt --max-new-tokens 200 --temperature 0.8 --top-p 0.95",
            "manticore generate my-hybrid --batch prompts.txt --json > continuations.jsonl",
        ),
        notes="Of --batch every continuation is one line, with line breaks written as \\n unless --json is given.",
    )


def run(options: GenerateCommand) -> None:
    """Continue the prompt on standard output."""
    from manticore.pipelines import generate

    generate.run_command(options, _write)
    if options.batch is None and not options.json:
        _write("\n")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
