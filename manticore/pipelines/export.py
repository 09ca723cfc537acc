"""`manticore export`: write a hybrid of a finished run, or of a path chosen by hand, as a Hugging Face checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from transformers import PreTrainedModel

from manticore.alignment.projector_set import ProjectorSet, check_stages, read_projector_config
from manticore.components import load
from manticore.components.generation import SPECIAL_TOKENS
from manticore.components.spec import SKIP
from manticore.config.model_commands import ExportCommand
from manticore.config.sections import RunOptions
from manticore.errors import ManticoreError, UnknownName
from manticore.experiment.environment import setup_hardware
from manticore.experiment.experiment import Experiment
from manticore.experiment.run_dir import RunDir, finished_run
from manticore.experiment.searched import check_candidates, hybrid_of, open_finished, saved_recipe
from manticore.export.checkpoint import cache_notes, save_checkpoint
from manticore.export.granite import NoNativeClass
from manticore.export.native import NativeExport, native_export
from manticore.modeling.configuration_manticore import HybridConfig
from manticore.nas.architecture import Architecture
from manticore.nas.discretize import discretize
from manticore.nas.space import SearchSpace
from manticore.nas.supernet import Supernet
from manticore.pipelines.composed import run_composed
from manticore.pipelines.lines import run_lines
from manticore.pipelines.quantized import run_quantized
from manticore.report.model_card import manual_card
from manticore.tasks.task import HeadSpec
from manticore.utils import assets
from manticore.utils.console import info
from manticore.utils.io import atomic_dir


def run_command(options: ExportCommand, console: Console) -> Path:
    """Export from a run, or a path of pretrained models. Raises as the function for the options does."""
    if options.run is not None and options.adapters:
        return run_composed(options.run, options.adapters, options.out, console, options.trust_code)
    if options.run is not None and options.quantize is not None:
        return run_quantized(options.run, options.bits, options.out, console, options.trust_code)
    if options.run is not None and (options.lines is not None or options.lines_control is not None):
        return run_lines(options.run, options.lines, options.lines_control, options.out, console, options.trust_code)
    if options.run is not None:
        run, trained, trust_code = options.run, options.trained, options.trust_code
        return run_from(run, options.path, options.out, console, trained, trust_code, options.native)
    models, path = options.models or (), options.path or ()
    return run_manual(models, path, options.out, console, options.base, options.projectors, options.native)


def run_from(
    run_folder: Path,
    path: Sequence[str] | None,
    out: Path,
    console: Console,
    trained: bool = True,
    trust_code: bool = False,
    native: bool = False,
) -> Path:
    """Export a finished run again.

    Args:
        run_folder: folder of a finished search.
        path: a candidate for each stage; None: copy what the run exported, or, unless `trained`, the selected path.
        out: folder to write; must not exist.
        console: where to print.
        trained: use the weights after fine-tuning if the run trained this path by itself; otherwise those of the
            search.
        trust_code: import the ops of the search space.
        native: write a model of a class of transformers; a path of a parent and its twin that has none is written as a
            hybrid, and a line says so.

    Raises ManticoreError if the run is unfinished or damaged, `out` exists, the path is not one of the search space, or
    the space has ops that are not trusted; with `native` also as `native_export` does.
    """
    run_dir = finished_run(run_folder)
    _check_unused(out)
    if path is None and trained and not native:
        return _copy_export(run_dir, out, console)
    path = path or Architecture.load(run_dir.architecture).path
    check_candidates(path, saved_recipe(run_folder).space)
    exp = open_finished(run_folder, console, trust_code)
    hybrid, task, phase = hybrid_of(exp, path, trained)
    label = "the search; fine-tune it next" if phase is None else f"the phase '{phase}'"
    model, native_note = _native(hybrid, console) if native else (hybrid, "")
    card = card_of_path(exp, hybrid, phase, native_note)
    folder = save_checkpoint(model, task.hf_tokenizer(), out, card)
    info(console, f"{folder}: {_summary(exp, hybrid)}, with the weights of {label}")
    for text in cache_notes(hybrid):
        info(console, text)
    return folder


def card_of_path(exp: Experiment, hybrid: PreTrainedModel, phase: str | None, native: str = "") -> str:
    """The card of a path of a finished run.

    `phase` is the phase that trained it, None for the search; `native` the paragraph on the class it is written as.
    """
    if phase is None:
        note = f"Its weights are those of the search on {exp.task.name}. Fine-tune it before you use it."
    else:
        note = f"It was trained on {exp.task.name}, in the phase '{phase}' of a search."
    summary = _summary(exp, hybrid)
    config: HybridConfig = hybrid.config
    return manual_card(exp.components, config.path, summary, config.base, exp.task.kind, note, native)


def _summary(exp: Experiment, hybrid: PreTrainedModel) -> str:
    path, ops = tuple(hybrid.config.path), exp.space.op_names
    return Architecture(exp.space.names, path, hybrid.config.base, ops=ops).summary()


def run_manual(
    models: Sequence[str],
    path: Sequence[str],
    out: Path,
    console: Console,
    base: str | None = None,
    projectors: str | None = None,
    native: bool = False,
) -> Path:
    """Export a language model of pretrained components on a path set by hand, without a search.

    Tokenizer and generation config are those of the base.

    Args:
        models: components: aliases, hub ids or local folders.
        path: the name of a component, or `skip`, for each stage.
        out: folder to write; must not exist.
        console: where to print.
        base: component that provides embedding, residual stream and head, by name or source. Default: the base of the
            projector set, or the first component on the path.
        projectors: projector set, by name or folder; None: untrained projectors.
        native: write a model of a class of transformers; a path of a parent and its twin that has none is written as a
            hybrid, and a line says so.

    Raises ManticoreError if a model or projector set cannot be loaded or does not fit, the path has an unknown name, or
    `out` exists; with `native` also as `native_export` does.
    """
    _check_unused(out)
    projector_set = None
    if projectors is not None:
        folder = assets.find("projectors", projectors)
        check_stages(projectors, read_projector_config(folder)["stages"], len(path))
        projector_set = ProjectorSet.load(folder)
    options = {} if projector_set is None else dict(projector_set.projector)
    kind = options.pop("kind", "linear")
    space = SearchSpace(models, len(path), base, projector=kind, projector_options=options, skip=SKIP in path)
    first = next((name for name in path if name != SKIP), space.names[0])
    base = space.base or (first if projector_set is None else projector_set.base)
    _check_path([*path, base], space.candidates)

    setup_hardware(RunOptions())
    components = [load(spec) for spec in space.components]
    supernet = Supernet(components, space, base, HeadSpec())
    if projector_set is not None:
        projector_set.apply_to(supernet)
    component = supernet.components[base]
    special_tokens = {key: getattr(component.config, key, None) for key in SPECIAL_TOKENS}
    hybrid = discretize(supernet, path, **special_tokens)
    architecture = supernet.architecture(path)
    if set(path) <= {base, SKIP, *supernet.same_stream}:
        label, note = (
            "it has no projectors",
            "Its layers have the weights of the pretrained models; no layer was trained.",
        )
    elif projector_set is None:
        label = "its projectors are untrained"
        note = (
            "The projectors of donor stages are untrained: features are truncated or zero-padded. Train it before you "
            "use it."
        )
    else:
        assert projector_set.folder is not None
        label = f"its projectors are from {projector_set.folder.name}"
        note = f"The projectors of donor stages are those of the projector set `{projector_set.folder.name}`."
    model, native_note = _native(hybrid, console) if native else (hybrid, "")
    card = manual_card(components, path, architecture.summary(), base, "lm", note, native_note)
    folder = save_checkpoint(model, component.tokenizer, out, card)
    info(console, f"{folder}: {architecture.summary()}, base {base}; {label}")
    return folder


def _native(hybrid: PreTrainedModel, console: Console) -> NativeExport:
    """A hybrid as a model of a class of transformers; the hybrid itself, after a line, if its twin has none."""
    try:
        return native_export(hybrid)
    except NoNativeClass as error:
        info(console, f"note: {error}; so the folder has the hybrid's own code")
        return NativeExport(hybrid, "")


def _copy_export(run_dir: RunDir, out: Path, console: Console) -> Path:
    if not (run_dir.hybrid / "config.json").exists():
        raise ManticoreError(f"{run_dir.hybrid} is missing; name a path to export from the supernet (--path ...)")
    with atomic_dir(out) as part:
        shutil.copytree(run_dir.hybrid, part, dirs_exist_ok=True)
    info(console, str(out))
    return out


def _check_unused(out: Path) -> None:
    if out.exists():
        raise ManticoreError(f"{out} exists; choose another folder")


def _check_path(path: Sequence[str], candidates: Sequence[str]) -> None:
    for name in path:
        if name not in candidates:
            raise UnknownName("candidate for a stage", name, candidates)
