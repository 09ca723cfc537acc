"""The main story: components alone, search, select, discretize, fine-tune, compare, export, report."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from transformers import PreTrainedModel

from manticore.config.loading import read_yaml, resolve
from manticore.config.recipe import Recipe
from manticore.errors import ManticoreError
from manticore.experiment.environment import setup_hardware
from manticore.experiment.evaluation import compare
from manticore.experiment.experiment import Experiment, PhaseResult
from manticore.experiment.model_selection import choose_base, select_path
from manticore.experiment.phases import finetune, run_search, train_components, train_controls
from manticore.experiment.projectors import check_projectors
from manticore.experiment.run_dir import RunDir, open_run_dir
from manticore.export.checkpoint import save_checkpoint
from manticore.export.custom_code import check_exportable
from manticore.export.load import read_hybrid
from manticore.nas.architecture import Architecture
from manticore.nas.cost import parameters
from manticore.nas.supernet import Supernet
from manticore.report.model_card import model_card
from manticore.report.run.page import write_run_report
from manticore.report.run.tables import comparison_table
from manticore.results.search import HYBRID, SearchResult
from manticore.tasks.catalog import load_task
from manticore.utils.console import info


@dataclass(frozen=True)
class Result:
    """What a search came to.

    Attributes:
        folder: the run folder.
        architecture: the path that was found.
        metrics: what metrics.json says.
    """

    folder: Path
    architecture: Architecture
    metrics: SearchResult

    @property
    def path(self) -> Path:
        """The exported Hugging Face folder."""
        return RunDir(self.folder).hybrid

    @property
    def hybrid(self) -> PreTrainedModel:
        """The exported model."""
        return read_hybrid(self.path)


def run(recipe: Recipe, out: Path, resume: bool, console: Console, preset_reason: str = "") -> Result:
    """Search, and leave everything in `out`.

    Args:
        recipe: what to do.
        out: the run folder; must be empty unless `resume`.
        resume: go on with the run in `out` if it holds one.
        console: where the user watches.
        preset_reason: why the task has its preset, for the summary and metrics.json. Default: it was asked for.

    Raises ManticoreError, before anything is written, if something about the recipe cannot be.
    """
    folder, resuming = open_run_dir(out, resume)
    if resuming:
        _check_same(recipe, folder)
    if folder.metrics.exists():
        info(console, f"{out} is complete; nothing to do.")
        return finalize(folder, console)
    task = load_task(recipe.task)
    exp = Experiment(recipe, task, setup_hardware(recipe.run), folder, console, preset_reason=preset_reason)
    exp = exp.read_as(exp.space.base or exp.space.names[0])
    check_buildable(exp)
    print_summary(exp)
    recipe.save(folder.recipe)
    folder.checkpoints.mkdir(exist_ok=True)

    alone = train_components(exp)
    base, reason = choose_base(exp, alone)
    exp = exp.read_as(base)
    info(console, f"base: {base} ({reason})")
    found = run_search(exp, base)
    supernet = found.net
    assert isinstance(supernet, Supernet)
    path = select_path(exp, supernet)
    architecture = supernet.architecture(path)
    architecture.save(folder.architecture)
    info(console, f"path: {architecture.words()}")
    tuned = finetune(exp, supernet, path, "fine-tune")
    others = train_controls(exp, supernet, base, path)
    metrics = compare(exp, base, reason, alone, found, path, tuned, others)
    export_best(exp, metrics, tuned, alone)
    return finalize(folder, console)


def check_buildable(exp: Experiment) -> None:
    """Raises ManticoreError if the projectors cannot be made, or if no path fits the budget whoever is base."""
    check_exportable(exp.space.projector, exp.space.topology, exp.task.kind)
    check_projectors(exp)
    options = exp.recipe.selection
    bounded = options.max_parameters is not None or options.max_flops is not None  # the largest component always fits
    bases = (exp.space.base,) if exp.space.base else exp.space.names
    for base in bases if bounded else bases[:1]:
        try:
            supernet = exp.supernet(base, exp.recipe.search.relaxation, "check")
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            raise ManticoreError(f"the search space cannot be built with {base} as base: {error}") from None
        if bounded:
            select_path(exp, supernet)


def print_summary(exp: Experiment) -> None:
    """Say what was chosen and why, before it is done."""
    preset, why = exp.preset
    info(exp.console, f"preset: {preset} ({why})")
    info(exp.console, f"task: {exp.task.describe()}")
    space = exp.space
    sizes = ", ".join(
        f"{c.name} ({c.depth} layers of width {c.width}, {parameters(c.model):,} parameters, {c.source})"
        for c in exp.components
    )
    info(exp.console, f"components: {sizes}")
    info(
        exp.console,
        f"space: {space.stages} stages, {space.topology} topology, {space.projector} projectors, "
        f"{len(space.candidates)}^{space.stages} = {len(space.candidates) ** space.stages} paths; "
        f"{exp.machine.accelerator}, {exp.machine.precision}",
    )
    slow = exp.machine.accelerator == "cuda" and find_spec("mamba_ssm") is None
    if slow and any(component.layout.recurrent for component in exp.components):
        info(
            exp.console,
            "note: mamba-ssm is not installed, so Mamba layers run in transformers' plain loop on this GPU, which is "
            "slow on long sequences: pip install 'manticore-hybrids[cuda]'",
        )


def export_best(exp: Experiment, metrics: SearchResult, tuned: PhaseResult, alone: dict[str, PhaseResult]) -> None:
    """Export, then write metrics.json, which marks the run as complete."""
    chosen = tuned if metrics.exported == HYBRID else alone[metrics.exported]
    if not exp.folder.hybrid.exists():
        assert isinstance(chosen.net, PreTrainedModel)
        save_checkpoint(chosen.net, chosen.task.hf_tokenizer(), exp.folder.hybrid, model_card(exp.folder.root, metrics))
    metrics.save(exp.folder.root)


def finalize(folder: RunDir, console: Console) -> Result:
    """Write the report if it is not there, show the table and say where things are."""
    metrics = SearchResult.load(folder.root)
    architecture = Architecture.load(folder.architecture)
    if not folder.report.exists():
        write_run_report(folder.root)
    console.print(comparison_table(metrics).rich())
    info(console, f"path: {metrics.summary}")
    info(console, f"exported: {metrics.exported} ({metrics.exported_reason})")
    for label, place in {
        "hybrid": folder.hybrid,
        "report": folder.report,
        "metrics": folder.metrics,
        "alphas": folder.alphas,
    }.items():
        if not place.exists():  # a search that trains nothing has no history of alphas
            continue
        info(console, f"  {label:8}{place}")
    return Result(folder.root, architecture, metrics)


def _check_same(recipe: Recipe, folder: RunDir) -> None:
    """Raises ManticoreError if the recipe given now differs from that of the run to be resumed."""
    started = resolve([read_yaml(folder.recipe)], "auto").to_dict()
    for key, value in recipe.to_dict().items():
        if started[key] != value:
            raise ManticoreError(
                f"{folder.root} was started with another recipe: '{key}' differs; "
                "resume with the same flags, or choose another --out"
            )
