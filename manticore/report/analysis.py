"""The table of what a training has changed in each stage of a hybrid, on the pages of searches and fine-tunings."""

from __future__ import annotations

from manticore.report.table import Row, Table
from manticore.results.analysis import HybridAnalysis, StageAnalysis
from manticore.utils.formatting import DASH, count, counted, percent

COLUMNS = ("stage", "weights", "moved", "rank of the change", "rank of 99% of it")


def analysis_table(analysis: HybridAnalysis) -> Table:
    """A row for each stage; without the column of FSP distances if there is no reference."""
    with_fsp = analysis.reference is not None
    rows = [
        Row((f"{number}: {stage.candidate}", *_cells(stage), *([_number(stage.fsp_distance)] if with_fsp else [])))
        for number, stage in enumerate(analysis.stages, start=1)
    ]
    return Table((*COLUMNS, *(["FSP distance"] if with_fsp else [])), tuple(rows), "Changes of each stage")


def analysis_caption(analysis: HybridAnalysis) -> str:
    """What the table shows, in sentences."""
    text = (
        f"What the training has changed since {analysis.start}, in the layers of each stage. Moved: the share of "
        f"weights that differ by more than {analysis.tolerance:g}. Ranks: of the changes of matrices, as a share of "
        "the largest possible rank; a change of few weights may have full rank."
    )
    if analysis.reference is None:
        return text
    return (
        f"{text} FSP distance: how far the products of the stream before and after the stage are from those of "
        f"{analysis.reference}, as a share of the latter, over {counted(analysis.sequences, 'validation sequence')}."
    )


def _cells(stage: StageAnalysis) -> tuple[str, ...]:
    shares = (stage.moved, stage.rank, stage.main_rank)
    weights = count(stage.weights) if stage.weights else DASH
    return (weights, *(DASH if share is None else percent(share) for share in shares))


def _number(value: float | None) -> str:
    return DASH if value is None else f"{value:.3f}"
