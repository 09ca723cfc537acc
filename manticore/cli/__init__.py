"""The command line: which commands there are, and how errors are printed.

A command is a file here, listed in `COMMANDS`, with `add`, which adds it to the parser, and `run`, which imports the
pipeline and runs it; so `--help` and `ls` import no torch. Its options are a dataclass of `config/commands.py`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from manticore.cli.options import Parser
from manticore.errors import CannotWrite, ManticoreError
from manticore.utils.failures import in_words
from manticore.utils.streams import allow_any_encoding, discard_output

COMMANDS = (  # modules of this package, in the order of --help
    "quickstart",
    "search",
    "plan",
    "compare",
    "transfer",
    "select",
    "pretrain",
    "align",
    "grow",
    "finetune",
    "evaluate",
    "generate",
    "chat",
    "export",
    "push",
    "report",
    "data",
    "bench",
    "assets",  # ls, show, cp, validate, schema
    "doctor",
    "completion",
)

QUIET_LOGGERS = ("torchao", "torch.utils._pytree")
"""Loggers that warn when torchao is imported, which transformers does in every command where it is installed."""

CONTINUED = ("compare", "transfer", "grow")
"""Commands that continue what their output folder has, without a flag."""

FIRST_STEPS = """\
manticore cuts language models into stages, searches which model runs each stage, and exports one Hugging Face
checkpoint.

type first:
  manticore quickstart my-texts   a first hybrid, of two shipped models on your own text; minutes on two CPU cores
  manticore doctor                what this machine has, and what is missing

then:
  manticore search --models gpt-neo,mamba --task lra-listops    a hybrid from scratch for a benchmark task
  manticore search --models gpt-neo-nano,mamba-nano --task text --data-dir my-texts    longer, on your own text
  manticore ls                    models, tasks, search spaces and recipes
  manticore --help                all commands; manticore COMMAND --help has examples
"""
"""What `manticore` without a command prints."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status.

    0 is success, also if the output is a pipe that is closed early (`manticore ls | head -1`); 2 an error that the user
    can correct; 1 one that the machine causes, such as a full disk; 130 an interrupt. Other exceptions are faults.
    """
    allow_any_encoding()
    status = 0
    try:
        try:
            status = _run(argv)
        except SystemExit as end:  # of argparse
            status = int(end.code or 0)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        return 0
    except OSError as error:  # of the output itself, such as /dev/full
        discard_output()
        return status or _print_error(CannotWrite("the output", str(error.strerror)))
    return status


def _run(argv: Sequence[str] | None) -> int:
    # How long idle OpenMP threads spin, read when torch loads. With the default, which is some 60 times longer, small
    # models are many times slower while other programs run, and no faster on an idle machine.
    os.environ.setdefault("GOMP_SPINCOUNT", "5000")
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    typed = sys.argv[1:] if argv is None else argv
    if not typed:
        print(FIRST_STEPS, end="")
        return 0
    arguments = parser().parse_args(typed)
    try:
        arguments.execute(arguments)
    except KeyboardInterrupt:
        print(f"manticore {arguments.command}: interrupted{_how_to_resume(arguments)}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise
    except Exception as error:
        known = in_words(error)
        if known is None:
            raise
        return _print_error(known)
    return 0


def _how_to_resume(arguments: argparse.Namespace) -> str:
    """What the user can do after an interrupt; empty for a command that keeps nothing."""
    if hasattr(arguments, "resume"):
        return "; saved states are kept, and the same command with --resume continues"
    return "; the same command continues" if arguments.command in CONTINUED else ""


def _print_error(error: ManticoreError) -> int:
    """Print an error in one line; returns the exit status. Of processes that train together the first one prints."""
    if os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) != "0":
        return error.exit_status
    print(f"manticore: error: {' '.join(str(error).split())}", file=sys.stderr)
    return error.exit_status


def parser() -> Parser:
    """The whole command line."""
    top = Parser(
        prog="manticore",
        description="Cut language models into stages, search which model runs each stage, and export one Hugging Face "
        "checkpoint.",
        epilog="First steps: manticore quickstart my-texts; manticore without a command prints more.",
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    for name in COMMANDS:
        import_module(f"{__name__}.{name}").add(commands)
    return top
