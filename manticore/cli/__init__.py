"""The command line: which commands there are, and how errors are printed.

A command is a file here, listed in `COMMANDS`, with `add`, which adds it to the parser, and `run`, which imports the
pipeline and runs it; so `--help` and `ls` import no torch. Its options are a dataclass of `config/commands.py`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from manticore.cli.options import Parser
from manticore.errors import ManticoreError

COMMANDS = (  # modules of this package, in the order of --help
    "search",
    "compare",
    "transfer",
    "pretrain",
    "align",
    "finetune",
    "evaluate",
    "generate",
    "export",
    "report",
    "data",
    "bench",
    "assets",  # ls, show, cp, validate
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0, 2 for an error that the user can correct, 130 for an interrupt."""
    # How long idle OpenMP threads spin, read when torch loads. With the default, which is some 60 times longer, small
    # models are many times slower while other programs run, and no faster on an idle machine.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    arguments = parser().parse_args(argv)
    try:
        arguments.execute(arguments)
    except ManticoreError as error:
        return _print_error(str(error))
    except KeyboardInterrupt:
        print("manticore: interrupted; saved states are kept (manticore search resumes with --resume)", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        return _print_error(f"{error.filename}: {error.strerror}")
    return 0


def _print_error(message: str) -> int:
    """Print an error in one line; returns the exit status."""
    print(f"manticore: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def parser() -> Parser:
    """The whole command line."""
    top = Parser(
        prog="manticore",
        description="Cut language models into stages, search which model runs each stage, and export one Hugging Face "
        "checkpoint.",
        epilog="First steps: manticore search --models gpt-neo,mamba --task lra-listops",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name in COMMANDS:
        import_module(f"{__name__}.{name}").add(commands)
    return top
