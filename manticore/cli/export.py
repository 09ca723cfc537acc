"""`manticore export`: a path of a run, or a hybrid made by hand, to a checkpoint."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from manticore.cli.options import command, names
from manticore.errors import ManticoreError
from manticore.utils.console import make_console


def add(commands: Any) -> None:
    """The words of `manticore export`."""
    made = command(
        commands,
        "export",
        run,
        "write a path of a finished run, or a hybrid made by hand, as a Hugging Face checkpoint",
        "manticore export runs/first --out my-hybrid\n"
        "  manticore export runs/first --path mamba,gpt-neo,mamba,mamba --out another-path\n"
        "  manticore export --models gpt-neo,mamba --path gpt-neo,gpt-neo,mamba,gpt-neo --out by-hand",
    )
    made.add_argument("folder", type=Path, nargs="?", metavar="RUN", help="run folder")
    made.add_argument("--models", metavar="M,M", help="make a language model by hand from these pretrained models")
    made.add_argument("--base", metavar="M", help="with --models: who lends embedding, stream and head; default: first")
    made.add_argument("--projectors", metavar="SET", help="with --models: a projector set (align), by name or folder")
    made.add_argument("--path", metavar="M,M,...", help="a choice for each stage; default: what the run exported")
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write; must not exist")


def run(given: argparse.Namespace) -> None:
    """`manticore export`."""
    path = None if given.path is None else names(given.path)
    if (given.folder is None) == (given.models is None):
        raise ManticoreError("export takes a run folder, or --models to make a hybrid by hand: one of the two")
    if given.models is None:
        for flag in ("base", "projectors"):
            if getattr(given, flag) is not None:
                raise ManticoreError(f"--{flag} goes with --models; a run has its {flag} already")
        from manticore.pipelines import export

        export.run_from(given.folder, path, given.out, make_console())
        return
    if path is None:
        raise ManticoreError("a hybrid by hand needs --path: a choice for each stage")
    from manticore.pipelines import export

    export.run_manual(names(given.models), path, given.out, make_console(), given.base, given.projectors)
