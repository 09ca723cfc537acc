"""The main story: components alone, search, select, discretize, fine-tune, compare, export, report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import PreTrainedModel

from manticore.architecture import Architecture
from manticore.cost import parameters
from manticore.errors import BadFile, ManticoreError
from manticore.files import read_json, write_json
from manticore.recipe import Recipe
from manticore.recipe_reading import read_yaml, resolve
from manticore.report.card import model_card
from manticore.report.page import write_report
from manticore.report.table import comparison
from manticore.runs.aligning import check_projectors
from manticore.runs.carrying import projector_source
from manticore.runs.choosing import choose_home, select
from manticore.runs.comparing import compare
from manticore.runs.export import export
from manticore.runs.folder import RunFolder, open_folder
from manticore.runs.hybrids import read_hybrid
from manticore.runs.machine import prepare
from manticore.runs.phases import finetune, train_alone, train_baselines, train_supernet
from manticore.runs.wording import tokenizer
from manticore.runs.workshop import Trained, Workshop
from manticore.supernet import Supernet
from manticore.tasks.catalog import load_task


@dataclass(frozen=True)
class Result:
    """What a search came to.

    Attributes:
        folder: the run folder.
        architecture: the path that was found.
        metrics: the comparison table and everything about it, as in metrics.json.
    """

    folder: Path
    architecture: Architecture
    metrics: dict[str, Any]

    @property
    def path(self) -> Path:
        """The exported Hugging Face folder."""
        return RunFolder(self.folder).hybrid

    @property
    def hybrid(self) -> PreTrainedModel:
        """The exported model."""
        return read_hybrid(self.path)


def run(recipe: Recipe, out: Path, resume: bool, console: Console) -> Result:
    """Search, and leave everything in `out`.

    Args:
        recipe: what to do.
        out: the run folder; must be empty unless `resume`.
        resume: go on with the run in `out` if it holds one.
        console: where the user watches.

    Raises ManticoreError, before anything is written, if something about the recipe cannot be.
    """
    folder, resuming = open_folder(out, resume)
    if resuming:
        _check_same(recipe, folder)
    if folder.metrics.exists():
        console.print(f"{out} is complete; nothing to do.", highlight=False, soft_wrap=True)
        return conclude(folder, console)
    task = load_task(recipe.task)
    shop = Workshop(recipe, task, prepare(recipe.run), folder, console)
    shop = shop.read_as(shop.space.home or shop.space.names[0])
    check_buildable(shop)
    introduce(shop)
    recipe.save(folder.recipe)
    folder.checkpoints.mkdir(exist_ok=True)

    alone = train_alone(shop)
    home, reason = choose_home(shop, alone)
    shop = shop.read_as(home)
    console.print(f"home: {home} ({reason})", highlight=False, soft_wrap=True)
    found = train_supernet(shop, home)
    supernet = found.net
    assert isinstance(supernet, Supernet)
    path = select(shop, supernet)
    architecture = supernet.architecture(path)
    architecture.save(folder.architecture)
    console.print(f"path: {architecture.words()}", highlight=False, soft_wrap=True)
    tuned = finetune(shop, supernet, path, "fine-tune")
    others = train_baselines(shop, supernet, home, path)
    metrics = compare(shop, home, reason, alone, found, path, tuned, others)
    finish(shop, metrics, tuned, alone)
    return conclude(folder, console)


def check_buildable(shop: Workshop) -> None:
    """Raises ManticoreError if the projectors cannot be made, or if no path fits the budget whoever is home."""
    projector_source(shop.space.projector)
    check_projectors(shop)
    options = shop.recipe.selection
    bounded = options.max_parameters is not None or options.max_flops is not None  # the largest component always fits
    homes = (shop.space.home,) if shop.space.home else shop.space.names
    for home in homes if bounded else homes[:1]:
        try:
            supernet = shop.supernet(home, shop.recipe.search.relaxation, "check")
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            raise ManticoreError(f"the search space cannot be built with {home} as home: {error}") from None
        if bounded:
            select(shop, supernet)


def introduce(shop: Workshop) -> None:
    """Say what was chosen and why, before it is done."""
    preset, why = shop.preset
    shop.console.print(f"preset: {preset} ({why})", highlight=False, soft_wrap=True)
    shop.console.print(f"task: {shop.task.describe()}", highlight=False, soft_wrap=True)
    space = shop.space
    sizes = ", ".join(
        f"{c.name} ({c.depth} layers of width {c.width}, {parameters(c.model):,} parameters, {c.source})"
        for c in shop.components
    )
    shop.console.print(f"components: {sizes}", highlight=False, soft_wrap=True)
    shop.console.print(
        f"space: {space.stages} stages, {space.topology} topology, {space.projector} projectors, "
        f"{len(space.candidates)}^{space.stages} = {len(space.candidates) ** space.stages} paths; "
        f"{shop.machine.accelerator}, {shop.machine.precision}",
        highlight=False,
        soft_wrap=True,
    )
    slow = shop.machine.accelerator == "cuda" and find_spec("mamba_ssm") is None
    if slow and any(component.anatomy.recurrent for component in shop.components):
        shop.console.print(
            "note: mamba-ssm is not installed, so Mamba layers run in transformers' plain loop on this GPU, which is "
            "slow on long sequences: pip install 'manticore-hybrids[cuda]'",
            highlight=False,
            soft_wrap=True,
        )


def finish(shop: Workshop, metrics: dict[str, Any], tuned: Trained, alone: dict[str, Trained]) -> None:
    """Export, then write metrics.json, which marks the run as complete."""
    chosen = tuned if metrics["exported"] == "hybrid" else alone[metrics["exported"]]
    if not shop.folder.hybrid.exists():
        assert isinstance(chosen.net, PreTrainedModel)
        export(chosen.net, tokenizer(chosen.task), shop.folder.hybrid, model_card(shop.folder.root, metrics))
    write_json(shop.folder.metrics, metrics)


def conclude(folder: RunFolder, console: Console) -> Result:
    """Write the report if it is not there, show the table and say where things are."""
    metrics = read_json(folder.metrics)
    if not isinstance(metrics, dict) or "rows" not in metrics:
        raise BadFile(folder.metrics, "not the metrics of a run")
    architecture = Architecture.load(folder.architecture)
    if not folder.report.exists():
        write_report(folder.root)
    console.print(comparison(metrics["rows"], title=f"{metrics['task']}, test split"))
    console.print(f"path: {metrics['words']}", highlight=False, soft_wrap=True)
    console.print(f"exported: {metrics['exported']} ({metrics['exported_reason']})", highlight=False, soft_wrap=True)
    for label, place in {
        "hybrid": folder.hybrid,
        "report": folder.report,
        "metrics": folder.metrics,
        "alphas": folder.alphas,
    }.items():
        if not place.exists():  # a search that trains nothing has no history of alphas
            continue
        console.print(f"  {label:8}{place}", highlight=False, soft_wrap=True)
    return Result(folder.root, architecture, metrics)


def _check_same(recipe: Recipe, folder: RunFolder) -> None:
    """Raises ManticoreError if the recipe given now differs from that of the run to be resumed."""
    held = asdict(resolve([read_yaml(folder.recipe)], "auto"))
    given = asdict(recipe)
    for key in held:
        if held[key] != given[key]:
            raise ManticoreError(
                f"{folder.root} was started with another recipe: '{key}' differs; "
                "resume with the same flags, or choose another --out"
            )
