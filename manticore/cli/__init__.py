"""Words to calls. Knows which commands there are and says what went wrong in one line; nothing else.

A command is a file here with `add`, which tells the parser about it, and `run`, which does it; its file's name stands
in COMMANDS. What is heavy is imported inside `run`, so `--help` and `ls` answer at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

from manticore.cli.options import Parser
from manticore.errors import ManticoreError

COMMANDS = (  # files of this folder, in the order of --help
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
    """Run one command. Returns the exit status: 0, 2 for what the user can mend, 130 for an interrupt."""
    # How long idle OpenMP threads spin, read when torch loads. The default, some 60 times longer, makes small models
    # many times slower beside other programs, and no faster on an idle machine.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except ManticoreError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        print("manticore: interrupted; what was saved is kept (search goes on with --resume)", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        if error.filename is None:
            raise
        return _refuse(f"{error.filename}: {error.strerror}")
    return 0


def _refuse(message: str) -> int:
    """Say what cannot be, in one line; returns the exit status."""
    print(f"manticore: error: {' '.join(message.split())}", file=sys.stderr)
    return 2


def parser() -> Parser:
    """The whole command line."""
    top = Parser(
        prog="manticore",
        description="Cut language models into stages, search who runs each stage, get one Hugging Face checkpoint.",
        epilog="First steps: manticore search --models gpt-neo,mamba --task lra-listops",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name in COMMANDS:
        import_module(f"{__name__}.{name}").add(commands)
    return top
