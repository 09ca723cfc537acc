"""Export a finished run again: what it exported, or any other path of its supernet."""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.console import Console

from manticore.discretization import discretize
from manticore.errors import ManticoreError, UnknownName
from manticore.files import read_json, whole_folder
from manticore.recipe_reading import read_yaml, resolve
from manticore.runs.export import export, plain_card
from manticore.runs.folder import finished_run
from manticore.runs.machine import prepare
from manticore.runs.wording import label_fields, tokenizer
from manticore.runs.workshop import Workshop
from manticore.tasks.catalog import load_task


def run(given: Path, path: list[str] | None, out: Path, console: Console) -> Path:
    """Write `out`.

    Args:
        given: run folder.
        path: a choice for each stage, with the supernet's weights as the search left them; None copies what the run
            exported.
        out: folder to write; must not exist.
        console: where to say what was written.

    Raises ManticoreError if the run is unfinished or damaged, `out` exists, or the path is not one of the space.
    """
    folder = finished_run(given)
    if out.exists():
        raise ManticoreError(f"{out} exists; choose another folder")
    if path is None:
        if not (folder.hybrid / "config.json").exists():
            raise ManticoreError(f"{folder.hybrid} is gone; name a path to export from the supernet (--path ...)")
        with whole_folder(out) as part:
            shutil.copytree(folder.hybrid, part, dirs_exist_ok=True)
        console.print(f"{out}", highlight=False, soft_wrap=True)
        return out
    recipe = resolve([read_yaml(folder.recipe)], "auto")
    metrics = read_json(folder.metrics)
    shop = Workshop(recipe, load_task(recipe.task), prepare(recipe.run), folder, console)
    for choice in path:
        if choice not in shop.space.candidates:
            raise UnknownName("choice for a stage", choice, shop.space.candidates)
    if len(path) != shop.space.stages:
        raise ManticoreError(f"the path names {len(path)} stages; the run has {shop.space.stages}")
    shop = shop.read_as(metrics["home"])
    supernet = shop.supernet(metrics["home"], recipe.search.relaxation, "search")
    folder.restore("search", supernet)
    architecture = supernet.architecture(path)
    note = (
        f"Its weights are as the search on {shop.task.name} left them, not fine-tuned. Fine-tune it before you use it."
    )
    card = plain_card(shop.components, architecture.words(), architecture.home, shop.task.kind, note)
    hybrid = discretize(supernet, path, **label_fields(shop.task))
    place = export(hybrid, tokenizer(shop.task), out, card)
    console.print(
        f"{place}: {architecture.words()}, as the search left it; fine-tune it next", highlight=False, soft_wrap=True
    )
    return place
