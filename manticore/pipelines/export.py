"""Export a finished run again: what it exported, or any other path of its supernet."""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.console import Console

from manticore.config.loading import read_yaml, resolve
from manticore.errors import ManticoreError, UnknownName
from manticore.experiment.experiment import Experiment
from manticore.experiment.run_dir import finished_run
from manticore.export.checkpoint import save_checkpoint
from manticore.nas.discretize import discretize
from manticore.report.model_card import manual_card
from manticore.utils.console import info
from manticore.utils.io import atomic_dir, read_json


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
        with atomic_dir(out) as part:
            shutil.copytree(folder.hybrid, part, dirs_exist_ok=True)
        info(console, f"{out}")
        return out
    recipe = resolve([read_yaml(folder.recipe)], "auto")
    metrics = read_json(folder.metrics)
    exp = Experiment.open(recipe, folder, console)
    for choice in path:
        if choice not in exp.space.candidates:
            raise UnknownName("choice for a stage", choice, exp.space.candidates)
    if len(path) != exp.space.stages:
        raise ManticoreError(f"the path names {len(path)} stages; the run has {exp.space.stages}")
    exp = exp.for_component(metrics["base"])
    supernet = exp.supernet(metrics["base"], recipe.search.relaxation, "search")
    folder.restore("search", supernet)
    architecture = supernet.architecture(path)
    note = (
        f"Its weights are as the search on {exp.task.name} left them, not fine-tuned. Fine-tune it before you use it."
    )
    card = manual_card(exp.components, architecture.summary(), architecture.base, exp.task.kind, note)
    hybrid = discretize(supernet, path, **exp.task.config_fields())
    place = save_checkpoint(hybrid, exp.task.hf_tokenizer(), out, card)
    info(console, f"{place}: {architecture.summary()}, as the search left it; fine-tune it next")
    return place
