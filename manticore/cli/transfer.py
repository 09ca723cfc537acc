"""`manticore transfer`: a path from proxy tasks to a target task."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from manticore.cli.compare import STUDY_FLAGS
from manticore.cli.options import command
from manticore.cli.search import RECIPE_FLAGS
from manticore.config.commands import TransferCommand

FLAGS = {
    "--proxy": "proxies",
    "--task": "target",
    "--target-models": "target_models",
    "--search-target": "search_target",
    **RECIPE_FLAGS,
    **STUDY_FLAGS,
}


def add(commands: Any) -> None:
    """Add `manticore transfer` to the subparsers."""
    command(
        commands,
        "transfer",
        TransferCommand,
        FLAGS,
        run,
        "search on cheap proxy tasks, use the path on a target task, and measure how well the proxies predict it",
        examples=(
            "manticore transfer --models gpt-neo,mamba --stages 2 --proxy mad --task lra-listops --out runs/programmed",
            "manticore transfer --models gpt-neo,mamba --stages 2 --proxy mad --task lra-listops "
            "--target-models ./neo,./ssm --out runs/carried",
        ),
        notes="The paper calls this programming: manticore program is another name of this command. Every path of the "
        "space is trained on the proxies and on the target, so a space may have at most 64 paths. The same --out "
        "again resumes. --config and --set hold for all tasks, --data-dir for the target.",
        aliases=("program",),
    )


def run(options: TransferCommand) -> None:
    """Load a recipe for each proxy and for the target, and transfer."""
    from manticore.config.loading import load_command
    from manticore.pipelines import transfer
    from manticore.tasks.catalog import expand_families
    from manticore.utils.console import make_console

    task_keys = {key: value for key, value in options.keys.get("task", {}).items() if key != "data_dir"}
    generated = replace(options, keys={**options.keys, "task": task_keys})
    proxies = [load_command(generated, {"task": {"name": name}}).recipe for name in expand_families(options.proxies)]
    # A base is named among the proxies' models; on the target it is the component at the same index.
    models = {"space": {"components": list(options.target_models), "base": None}} if options.target_models else {}
    target = load_command(options, {"task": {"name": options.target}, **models}).recipe
    transfer.run(proxies, target, options.out, options.workers, make_console(), options.search_target)
