"""`manticore search`: components alone, search, select, discretize, fine-tune, evaluate, export, report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console
from transformers import PreTrainedModel

from manticore.config.commands import SearchCommand
from manticore.config.loading import from_dotted, load_command, merge, read_recipe
from manticore.config.recipe import Recipe
from manticore.experiment.adapters import adapter_summary
from manticore.experiment.checks import check_experiment
from manticore.experiment.component_notes import affordable_sequences, component_notes
from manticore.experiment.estimate import print_search_estimate
from manticore.experiment.evaluation import TrainedModels, evaluate_on_test
from manticore.experiment.experiment import Experiment, PhaseResult
from manticore.experiment.model_selection import choose_base, save_scores, select_path
from manticore.experiment.phases import count_phases, finetune, run_search, train_components, train_controls
from manticore.experiment.planned import phase_table, planned_phases
from manticore.experiment.processes import run_together
from manticore.experiment.run_dir import RunDir, check_unchanged, open_run_dir, unused_run_dir
from manticore.experiment.run_lock import RunLock
from manticore.export.checkpoint import cache_notes, save_checkpoint
from manticore.kernels import serving_backends
from manticore.nas.architecture import Architecture
from manticore.nas.cost import parameters
from manticore.nas.discretize import discretize
from manticore.nas.strategies import TrainingFree, strategies
from manticore.report.model_card import component_card, search_card
from manticore.report.run.page import write_run_report
from manticore.report.run.reading import Run, add_logs, read_run
from manticore.report.run.summary import export_sentence, precision_sentence
from manticore.report.run.tables import comparison_table, lead_table
from manticore.results.search import HYBRID
from manticore.training.run_loggers import RunLoggers
from manticore.training.trainer import Hardware
from manticore.training.user_trainer import UserTrainer
from manticore.utils.console import info


def run_command(options: SearchCommand, console: Console, user: UserTrainer | None = None) -> Run:
    """Run the recipe of a command; with `resume` and neither space, task nor recipe, that of the run folder.

    Raises ManticoreError, before anything is written, if the recipe is wrong or cannot be carried out.
    """
    saved = options.out / "recipe.yaml" if options.resume and options.out else None
    if saved is not None and saved.exists() and not options.names_run:
        options = replace(options, config=str(saved))
    recipe, reason = load_command(options)
    names_task = "name" in merge(options.keys, from_dotted(options.overrides)).get("task", {})

    def work(hardware: Hardware) -> Run:
        if options.config is None and not names_task:
            info(console, f"no task is named: the default is {recipe.task.name}; --task names another")
        out = options.out or unused_run_dir(f"{recipe.task.name}-{'+'.join(recipe.space.names)}")
        return run(recipe, out, console, options.resume, reason, user, hardware)

    return run_together(options.processes, recipe.run, work)


def run(
    recipe: Recipe,
    out: Path,
    console: Console,
    resume: bool = False,
    preset_reason: str = "",
    user: UserTrainer | None = None,
    hardware: Hardware | None = None,
) -> Run:
    """Search for the best hybrid of a space on a task, and export it.

    Args:
        recipe: task, space and options.
        out: the run folder; must be empty unless `resume`.
        console: where progress is printed.
        resume: continue the run in `out`, if it holds one.
        preset_reason: why the task has its preset. Default: the reason that `choose_preset` gives.
        user: what the user adds to the Trainer of every phase.
        hardware: device and processes. Default: those of the recipe, and this process alone.

    Raises ManticoreError, before anything is written, if the recipe cannot be carried out, or if another process runs
    in `out`.
    """
    with RunLock(out) as lock, RunLoggers(recipe.run.logger, out, recipe.to_dict()) as loggers:
        return _run(recipe, out, console, lock, loggers, resume, preset_reason, user, hardware)


def _run(
    recipe: Recipe,
    out: Path,
    console: Console,
    lock: RunLock,
    loggers: RunLoggers,
    resume: bool,
    preset_reason: str,
    user: UserTrainer | None,
    hardware: Hardware | None,
) -> Run:
    run_dir = open_search(recipe, out, resume)
    if run_dir.metrics.exists():
        info(console, f"{out} is complete; nothing to do.")
        return show(read_run(out), console)
    lock.acquire(create=False)
    exp = Experiment.open(recipe, run_dir, console, None, hardware, preset_reason, user)
    exp = exp.for_component(exp.space.base or exp.space.names[0])
    exp.loggers, exp.phases = loggers, count_phases(recipe)
    check_experiment(exp)
    print_summary(exp)
    print_phases(exp)
    if not run_dir.recipe.exists():  # a run that is resumed has less to do
        for note in component_notes(exp, affordable_sequences(exp)):
            info(console, note)
        print_search_estimate(exp)
    lock.acquire()
    run_dir.create(recipe)
    run_dir.check_data(exp.task.name, exp.task.fingerprint())

    solo = train_components(exp)  # each component alone, on the same tokens as the hybrid
    base = choose_base(exp, solo)  # provides embedding, residual stream and head
    info(console, f"base: {base.name} ({base.reason})")
    exp = exp.for_component(base.name)  # its tokenizer reads the text from now on
    search = run_search(exp, base.name)  # weights and alphas, by the strategy of the recipe
    path = select_path(exp, search)  # exact, within the budget
    save_scores(exp, search, path)
    architecture = save_architecture(exp, replace(search.net.architecture(path), bits=search.bits))
    discrete = discretize(search.net, path, **exp.task.config_fields())
    hybrid = finetune(exp, search, discrete)
    controls = train_controls(exp, search, path)  # uniform mixture, random path

    trained = TrainedModels(base, solo, search, path, discrete, hybrid, controls)
    result = evaluate_on_test(exp, trained)  # the only reader of the test split
    run = add_logs(out, result, architecture)
    export(exp, trained, run)
    show(run, console)
    loggers.log_result(result.summary, run_dir.report)
    return run


def open_search(recipe: Recipe, out: Path, resume: bool) -> RunDir:
    """The run folder. Raises ManticoreError if it is taken, or holds a run of another recipe."""
    run_dir, resuming = open_run_dir(out, resume)
    if resuming:
        check_unchanged(out, read_recipe(run_dir.recipe).to_dict(), recipe.to_dict(), "another recipe")
    return run_dir


def print_summary(exp: Experiment) -> None:
    """Print preset, task, components, search space and hardware."""
    preset, reason = exp.preset
    info(exp.console, f"preset: {preset} ({reason})")
    info(exp.console, f"task: {exp.task.describe()}")
    space = exp.space
    bypass = " with a bypass" if space.projector_options.get("bypass") else ""
    sizes = ", ".join(
        f"{c.name} ({c.depth} layers of width {c.width}, {parameters(c.model):,} parameters, {c.source})"
        for c in exp.components
    )
    info(exp.console, f"components: {sizes}")
    if space.ops:
        info(exp.console, f"ops: {', '.join(f'{op.name} ({op.import_path})' for op in space.ops)}")
    info(
        exp.console,
        f"space: {space.stages} stages, {space.topology} topology, {space.projector} projectors{bypass}, "
        f"{space.choices.summary()}; "
        f"{exp.hardware.summary}",
    )
    if exp.recipe.adapter.name is not None:
        for line in adapter_summary(exp):
            info(exp.console, line)
    strategy = exp.recipe.search.strategy
    if issubclass(strategies[strategy], TrainingFree):
        info(exp.console, f"search: {strategy} scores the stages without gradients; with gradients: --strategy darts")
    if any(component.layout.recurrent for component in exp.components):
        backends = serving_backends(exp.hardware.accelerator).items()
        served = ", ".join(f"{operation} by {backend}" for operation, backend in backends if "update" not in operation)
        info(exp.console, f"kernels: {served}")


def print_phases(exp: Experiment) -> None:
    """Print what is trained, in which order, at which rates, on how many tokens, with how many operations."""
    phases = planned_phases(exp, exp.space.base or exp.space.names[0])
    exp.console.print(phase_table(phases, measured=False).rich())
    info(exp.console, "manticore plan, with the same flags, measures the time, memory and disk of these phases")


def save_architecture(exp: Experiment, architecture: Architecture) -> Architecture:
    """Write architecture.json and print the path. Returns `architecture`."""
    architecture.save(exp.run_dir.architecture)
    info(exp.console, f"path: {architecture.summary()}")
    return architecture


def export(exp: Experiment, trained: TrainedModels, run: Run) -> None:
    """Export the hybrid, or the best model; last write metrics.json, which marks the run as complete.

    With `selection.export=best` a component that is better than the hybrid is exported instead of it; else beside it.
    """
    best, exported = run.result.best_model, run.result.exported
    model = trained.hybrid if exported == HYBRID else trained.solo[best]
    save(model, exp.run_dir.hybrid, search_card(run) if exported == HYBRID else component_card(run))
    for note in cache_notes(model.net):
        info(exp.console, note)
    if best != exported and exp.recipe.selection.export_best_component:
        save(trained.solo[best], exp.run_dir.best_component, component_card(run))
    run.result.save(run.folder)


def save(phase: PhaseResult[PreTrainedModel], folder: Path, card: str) -> None:
    """Write a trained model as a checkpoint, unless a stopped run has written it."""
    if not folder.exists():
        save_checkpoint(phase.net, phase.task.hf_tokenizer(), folder, card)


def show(run: Run, console: Console) -> Run:
    """Print the table of a complete run and where its files are; write the report if it is missing."""
    run_dir, result = RunDir(run.folder), run.result
    if not run_dir.report.exists():
        write_run_report(run)
    console.print(comparison_table(result).rich())
    if (leads := lead_table(result)) is not None:
        console.print(leads.rich())
    info(console, f"path: {result.summary}")
    models = {"hybrid": run_dir.hybrid, "best component": run_dir.best_component}  # the latter if it is better
    files = {
        **(models if result.exported == HYBRID else {"best component": run_dir.hybrid}),
        "report": run_dir.report,
        "metrics": run_dir.metrics,
        "alphas": run_dir.alphas,  # none if the strategy trains nothing
    }
    for label, file in files.items():
        if file.exists():
            info(console, f"  {label:15}{file}")
    info(console, export_sentence(result))
    if precision := precision_sentence(run.architecture):
        info(console, precision)
    return run
