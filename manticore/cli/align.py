"""`manticore align`: projectors between pretrained models."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.commands import AlignCommand
from manticore.config.flags import ALIGN


def add(commands: Any) -> None:
    """Add `manticore align` to the subparsers."""
    command(
        commands,
        "align",
        AlignCommand,
        ALIGN,
        run,
        "fit the projectors between pretrained models on text, in closed form",
        examples=(
            "manticore align --models ./neo,./ssm --text book.txt --out my-projectors",
            "manticore search --models ./neo,./ssm --task text --set align.projectors=my-projectors",
            "manticore align --models ./neo,./ssm --stages 2 --text book.txt --out for-two-stages",
            "manticore export --models ./neo,./ssm --path neo,ssm --projectors for-two-stages --out by-hand",
        ),
        notes="The base is the first model unless --base names another. A table reports for every stage how much of "
        "the donor's stream P recovers from the base's (R²), how much of the base's update Q recovers from the "
        "donor's, and the lengths of the updates. Projectors with a closed form are linear and low-rank.",
    )


def run(options: AlignCommand) -> None:
    """Align."""
    from manticore.pipelines import align
    from manticore.utils.console import make_console

    align.run(options, make_console())
