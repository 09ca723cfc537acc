"""`manticore quickstart`: a first hybrid of the shipped models, on text of the user's own."""

from __future__ import annotations

from typing import Any

from manticore.cli.options import command
from manticore.config.tool_commands import QuickstartCommand


def add(commands: Any) -> None:
    """Add `manticore quickstart` to the subparsers."""
    command(
        commands,
        "quickstart",
        QuickstartCommand,
        {"folder": "folder", "--out": "out", "--set": "overrides"},
        run,
        "make a first hybrid of the two shipped models on your own text, with a table and a report page",
        examples=("manticore quickstart my-notes", "manticore quickstart my-notes --out runs/notes"),
        notes="This is manticore search --config search/quickstart --data-dir FOLDER, which takes minutes on two CPU "
        "cores. It shows how a search goes; for a better hybrid use manticore search --task text, which trains longer.",
    )


def run(options: QuickstartCommand) -> None:
    """Search, and print what to type next."""
    from manticore.experiment.run_dir import unused_run_dir
    from manticore.pipelines import search
    from manticore.utils.console import info, make_console

    console, out = make_console(), options.out or unused_run_dir("quickstart")
    search.run_command(options.search(out), console)
    info(
        console,
        f"""next:
  manticore generate {out} --prompt "Once upon a time"
  manticore chat {out}
  manticore evaluate {out} --generation
  manticore search --models gpt-neo-nano,mamba-nano --task text{options.data_flag} --out runs/longer""",
    )
