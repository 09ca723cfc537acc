"""`manticore search`: flags to a recipe, and the recipe to a run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from manticore import terminal
from manticore.cli.parsing import at_least, command, names
from manticore.errors import ManticoreError


def add(commands: Any) -> None:
    """The words of `manticore search`."""
    made = command(
        commands,
        "search",
        run,
        "search the best hybrid for a task, fine-tune it, compare it, export it",
        "manticore search --models gpt-neo,mamba --task lra-listops --out runs/first\n"
        "  manticore search --space gpt-neo+mamba --task lra-listops --set search.steps=1000 --set space.stages=2\n"
        "\nmanticore show recipe lists every key that --set takes.",
    )
    made.add_argument("--models", metavar="M,M", help="two or more aliases, hub ids or local folders (ls models)")
    made.add_argument("--task", metavar="T", help="task to search on (ls tasks); default: the recipe's")
    made.add_argument("--config", metavar="R", help="recipe by name or path (ls configs); default: the task's own")
    made.add_argument("--space", metavar="S", help="search space by name or path (ls spaces)")
    made.add_argument("--preset", choices=("auto", "cpu", "paper"), help="scale; auto: paper where there is a CUDA GPU")
    made.add_argument(
        "--home", metavar="M", help="component that lends embedding, stream and head; default: best alone"
    )
    made.add_argument("--strategy", metavar="X", help="how alphas move: darts (default) or simultaneous")
    made.add_argument("--topology", metavar="X", help="how stages are joined: residual (default) or hub (the paper's)")
    made.add_argument("--projector", metavar="X", help="linear (default), low-rank, two-layer, identity")
    made.add_argument("--stages", type=int, metavar="N", help="number of stages")
    made.add_argument("--data-dir", metavar="DIR", help="folder with the task's official files; default: generate")
    made.add_argument("--out", type=Path, metavar="DIR", help="run folder; default: a new one under runs/")
    made.add_argument("--seed", type=at_least(0), metavar="N", help="seed of weights, batches and the random path")
    made.add_argument("--resume", action="store_true", help="go on with the run in --out, if it holds one")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any recipe key; may be repeated")


def run(given: argparse.Namespace) -> None:
    """`manticore search`."""
    if given.models and given.space:
        raise ManticoreError("--models and --space both say what the components are; give one of them")
    if given.resume and given.out is None:
        raise ManticoreError("--resume needs --out: the folder of the run to go on with")
    from manticore import library
    from manticore.api import recipe_for
    from manticore.recipe import from_dotted, merged
    from manticore.runs import search
    from manticore.runs.folder import free_folder
    from manticore.space import SearchSpace

    saved = given.out / "recipe.yaml" if given.resume else None
    if saved is not None and saved.exists() and not (given.models or given.space or given.config or given.task):
        given.config = str(saved)
    space: dict[str, Any] = {}
    if given.models:
        space["components"] = names(given.models)
    if given.space:
        space.update(SearchSpace.load(library.find("spaces", given.space)).to_dict())
    options = {"home": given.home, "topology": given.topology, "projector": given.projector, "stages": given.stages}
    space.update({key: value for key, value in options.items() if value is not None})
    task = {"name": given.task, "preset": given.preset, "data_dir": given.data_dir}
    flags: dict[str, Any] = {
        "space": space,
        "task": {key: value for key, value in task.items() if value is not None},
        "search": {} if given.strategy is None else {"strategy": given.strategy},
        "run": {} if given.seed is None else {"seed": given.seed},
    }
    recipe = recipe_for(given.config, merged(flags, from_dotted(given.set)))
    found = recipe.search_space()
    out = given.out or free_folder(f"{recipe.task.name}-{'+'.join(found.names)}")
    search.run(recipe, out, given.resume, terminal.console())
