"""The commands on finished runs, as functions: export, report, select.

Arguments have the names and the defaults of the flags. An argument that takes a folder also takes a result. Errors are
ManticoreErrors.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from manticore.alignment.projector_set import ProjectorSet
from manticore.api.arguments import name_list, source_folder
from manticore.config.flags import EXPORT, SELECT, command_options
from manticore.config.model_commands import ExportCommand, ReportCommand, SelectCommand
from manticore.errors import ManticoreError
from manticore.pipelines import export as export_pipeline
from manticore.pipelines import report as report_pipeline
from manticore.pipelines import select as select_pipeline
from manticore.pipelines.select import Selection
from manticore.utils.console import make_console


def export(
    run: Any = ExportCommand.run,
    *,
    out: Path | str,
    models: Sequence[str | Path] | None = ExportCommand.models,
    base: str | None = ExportCommand.base,
    projectors: ProjectorSet | str | Path | None = ExportCommand.projectors,
    path: Sequence[str] | None = ExportCommand.path,
    trained: bool = ExportCommand.trained,
    trust_code: bool = ExportCommand.trust_code,
    native: bool = ExportCommand.native,
    adapters: Sequence[Path | str] = ExportCommand.adapters,
    lines: float | None = ExportCommand.lines,
    lines_control: Path | str | None = ExportCommand.lines_control,
    quantize: Literal["torchao"] | None = ExportCommand.quantize,
    bits: Sequence[int] = ExportCommand.bits,
    quiet: bool = False,
) -> Path:
    """Write a path of a finished run, or of pretrained models, as a Hugging Face checkpoint.

    Args:
        run: a run folder or a result.
        out: folder to write; must not exist.
        models: pretrained models, instead of a run: names or folders.
        base: with models: the base model. Default: that of the projectors, or the first of the path.
        projectors: with models: a projector set. Default: projectors are untrained.
        path: component of each stage, or `skip`. Default: the path that the run exported.
        trained: the weights after fine-tuning, where the run has trained the path by itself; otherwise those of the
            search.
        trust_code: import the ops of the run's search space.
        native: write a model of the base's own class, or of transformers' granitemoehybrid for a parent and its
            Mamba-2 twin, for tools without support for hybrids. The path has no other layers.
        adapters: folders of fine-tunings with `keep_adapter`, whose changes are added up with that of `run`.
        lines: of a fine-tuning: scale its update linearly with depth, from this factor at the first layer to 1.
        lines_control: text on which the fine-tuning shall lose little, by which the factor is chosen.
        quantize: `"torchao"`: write the hybrid in a folder with integers as weights of the stages with fewer than 16
            bits. Default: full precision.
        bits: with quantize: 16, 8 or 4 for all stages, or for each. Default: those that the run selected its path with.
        quiet: print nothing.

    Returns `out`.
    """
    if path is not None and not path:
        raise ManticoreError("path is empty; it has a component for each stage")
    arguments = {
        **locals(),
        "run": None if run is None else source_folder(run),
        "models": None if models is None else name_list(models, "models", "'gpt-neo-nano', 'mamba-nano'"),
        "projectors": None if projectors is None else str(source_folder(projectors)),
    }
    return export_pipeline.run_command(command_options(ExportCommand, EXPORT, arguments), make_console(quiet))


def report(
    folder: Any,
    *,
    analyze: bool = ReportCommand.analyze,
    trust_code: bool = ReportCommand.trust_code,
    quiet: bool = False,
) -> Path:
    """Write the report page of a search, a comparison or a transfer again.

    Args:
        folder: a run folder, a result, or the `out` of a comparison, a transfer, or a fine-tuning with an analysis.
        analyze: first measure what the training has changed in each stage of the hybrid of a search or a fine-tuning:
            share of weights that moved, rank of the change, distance of its FSP matrix from that of the base.
        trust_code: with `analyze`: run the code in the hybrid's folder for ops and other parts that this process does
            not have.
        quiet: print nothing.

    Returns the page.
    """
    options = ReportCommand(folder=source_folder(folder), analyze=analyze, trust_code=trust_code)
    return report_pipeline.run_command(options, make_console(quiet))


def select(
    run: Any,
    *,
    max: Sequence[str] = SelectCommand.max,
    min: Sequence[str] = SelectCommand.min,
    pareto: Sequence[str] = SelectCommand.pareto,
    bits: Sequence[int] = SelectCommand.bits,
    out: Path | str | None = SelectCommand.out,
    resume: bool = SelectCommand.resume,
    trust_code: bool = SelectCommand.trust_code,
    quiet: bool = False,
) -> Selection:
    """Select another path, or a Pareto front, from the scores of a finished search, without searching again.

    Args:
        run: a run folder, or a result.
        max, min: limits on costs, such as `["parameters=120M", "cache_bytes=64MiB@8192"]`.
        pareto: a quality and costs, such as `["loss", "cache_bytes@8192"]`. Default: the one path with the best score.
        bits: numbers of bits that the weights of a segment may have, such as `[16, 8, 4]`. Default: none are chosen.
        out: folder in which the paths are fine-tuned and exported. Default: nothing is trained.
        resume: resume the fine-tuning in `out`.
        trust_code: import the ops of the run's search space.
        quiet: print nothing.

    Returns the paths, and the front if there is one.
    """
    options = command_options(SelectCommand, SELECT, locals(), run=source_folder(run))
    return select_pipeline.run(options, make_console(quiet))
