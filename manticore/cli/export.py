"""`manticore export`: a checkpoint of a path."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.flags import EXPORT
from manticore.config.model_commands import ExportCommand


def add(commands: Any) -> None:
    """Add `manticore export` to the subparsers."""
    command(
        commands,
        "export",
        ExportCommand,
        EXPORT,
        run,
        "write a path of a finished run, or of pretrained models, as a Hugging Face checkpoint",
        examples=(
            "manticore export runs/first --out my-hybrid",
            "manticore export runs/first --path mamba,gpt-neo,mamba,mamba --out another-path",
            "manticore export --models gpt-neo,mamba --path gpt-neo,gpt-neo,mamba,gpt-neo --out by-hand",
            "manticore export --models gpt-neo,mamba --path gpt-neo,skip,gpt-neo --out shorter --native",
            "manticore export runs/first --quantize torchao --bits 8 --out smaller",
        ),
        notes="A path names a component for each stage, or skip. Paths that the run has not trained by themselves have "
        "the weights of the search, and those of --models the pretrained ones: fine-tune them before use.",
    )


def run(options: ExportCommand) -> None:
    """Export."""
    from manticore.pipelines import export
    from manticore.utils.console import make_console

    export.run_command(options, make_console())
