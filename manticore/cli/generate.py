"""`manticore generate`: text from a language model."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.flags import GENERATE
from manticore.config.model_commands import GenerateCommand
from manticore.utils.streams import write_now


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

    generate.run_command(options, write_now)
    if options.batch is None and not options.json:
        write_now("\n")
