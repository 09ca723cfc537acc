"""`manticore generate`: let a hybrid go on with a text."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from manticore.cli.options import above_zero, at_least, command
from manticore.errors import ManticoreError


def add(commands: Any) -> None:
    """The words of `manticore generate`."""
    made = command(
        commands,
        "generate",
        run,
        "let a language model go on with a text, word by word",
        "manticore generate runs/first --prompt 'Once upon a time'\n"
        "  manticore generate my-hybrid --prompt-file story.txt --max-new-tokens 200 --temperature 0.8 --top-p 0.95",
    )
    made.add_argument("model", metavar="MODEL", help="exported folder, run folder, or a component (ls models)")
    made.add_argument("--prompt", metavar="TEXT", help="the text to go on with")
    made.add_argument("--prompt-file", type=Path, metavar="FILE", help="take the text from a file")
    made.add_argument("--max-new-tokens", type=at_least(1), default=64, metavar="N", help="most tokens (default 64)")
    made.add_argument("--temperature", type=above_zero, metavar="T", help="draw, with logits divided by T")
    made.add_argument("--top-p", type=above_zero, metavar="P", help="draw from the likeliest that make up P")
    made.add_argument("--top-k", type=at_least(1), metavar="K", help="draw from the K likeliest")
    made.add_argument("--num-beams", type=at_least(1), default=1, metavar="N", help="beam search with N beams")
    made.add_argument("--seed", type=at_least(0), default=0, metavar="N", help="of the draws (default 0)")


def run(given: argparse.Namespace) -> None:
    """`manticore generate`."""
    prompt = text_of(given.prompt, given.prompt_file)
    from manticore.config.generate import SamplingOptions
    from manticore.pipelines import generate

    drawing = SamplingOptions(
        given.max_new_tokens, given.temperature, given.top_p, given.top_k, given.num_beams, given.seed
    )
    generate.run(given.model, prompt, drawing, _tell)
    _tell("\n")


def text_of(prompt: str | None, file: Path | None) -> str:
    """The prompt, from wherever it was given. Raises ManticoreError unless it is given once and can be read."""
    if (prompt is None) == (file is None):
        raise ManticoreError("give --prompt TEXT or --prompt-file FILE: one of the two")
    if file is None:
        return str(prompt)
    from manticore.tasks.language.documents import read_text

    return read_text(file)


def _tell(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
