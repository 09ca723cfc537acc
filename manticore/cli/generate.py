"""`manticore generate`: text from a language model."""

from __future__ import annotations

import sys
from typing import Any

from manticore.cli.options import command
from manticore.config.commands import GenerateCommand

FLAGS = {
    "model": "model",
    "--prompt": "prompt",
    "--prompt-file": "prompt_file",
    "--max-new-tokens": "sampling.max_new_tokens",
    "--temperature": "sampling.temperature",
    "--top-p": "sampling.top_p",
    "--top-k": "sampling.top_k",
    "--num-beams": "sampling.num_beams",
    "--seed": "sampling.seed",
    "--trust-code": "trust_code",
}


def add(commands: Any) -> None:
    """Add `manticore generate` to the subparsers."""
    command(
        commands,
        "generate",
        GenerateCommand,
        FLAGS,
        run,
        "continue a text with a language model, printing it as it is generated",
        examples=(
            "manticore generate runs/first --prompt 'Once upon a time'",
            "manticore generate my-hybrid --prompt-file story.txt --max-new-tokens 200 --temperature 0.8 --top-p 0.95",
        ),
    )


def run(options: GenerateCommand) -> None:
    """Read the prompt and continue it on standard output."""
    from manticore.pipelines import generate
    from manticore.tasks.language.documents import read_text

    prompt = read_text(options.prompt_file) if options.prompt_file is not None else str(options.prompt)
    generate.run(options.model, prompt, options.sampling, _write, options.trust_code)
    _write("\n")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
