"""The page of a fine-tuning, for its analysis and its trainings on a mix with one domain left out."""

from __future__ import annotations

from pathlib import Path

from manticore.report.analysis import analysis_caption, analysis_table
from manticore.report.rendering import render
from manticore.report.table import Row, Table
from manticore.results.analysis import HybridAnalysis
from manticore.results.leave_one_out import LeaveOneOut
from manticore.results.training import FinetuneScores
from manticore.utils.formatting import counted, signed
from manticore.utils.io import write_text

RESULTS = (HybridAnalysis.FILE, LeaveOneOut.FILE)
"""Files of a fine-tuning that its page shows; without them it has none."""


def has_page(folder: Path) -> bool:
    """Whether the folder of a fine-tuning has something that only a page shows."""
    return any((folder / file).is_file() for file in RESULTS)


def write_finetune_report(folder: Path) -> Path:
    """Write `report.html` into the folder of a finished fine-tuning, and return its path.

    Raises BadFile if its scores or a result cannot be read.
    """
    scores = FinetuneScores.load(folder)
    analysis = HybridAnalysis.load(folder) if (folder / HybridAnalysis.FILE).is_file() else None
    mix = LeaveOneOut.load(folder) if (folder / LeaveOneOut.FILE).is_file() else None
    page = render(
        "finetuning.html.j2",
        title=f"Fine-tuning on {scores.task}",
        facts=[counted(scores.steps, "step"), f"{scores.tokens:,} tokens"],
        sentence=_sentence(scores),
        mix=None if mix is None else leave_one_out_table(mix),
        mix_caption="" if mix is None else _mix_caption(mix),
        analysis=None if analysis is None else analysis_table(analysis),
        analysis_caption="" if analysis is None else analysis_caption(analysis),
        files=[file for file in (FinetuneScores.FILE, *RESULTS) if (folder / file).is_file()],
    )
    file = folder / "report.html"
    write_text(file, page)
    return file


def leave_one_out_table(result: LeaveOneOut) -> Table:
    """Scores of each domain before and after the training on all, then how much worse each is without another one."""
    metric, names = result.metric, list(result.mix)
    rows = [
        Row((label, *(metric.format(scores[name], unit=False) for name in names)), "scores")
        for label, scores in (("before", result.before), ("trained on all", result.mix))
    ]
    for source in result.without:
        effects = [metric.scale * result.effect(source, name) for name in names]
        cells = (f"what {source} adds", *(signed(effect, metric.digits) for effect in effects))
        rows.append(Row(cells, "effects"))
    return Table(("", *names), tuple(rows), f"{metric.label} of each domain, validation split")


def _mix_caption(result: LeaveOneOut) -> str:
    return (
        f"Validation {result.metric.label} of each domain before and after the training on all of them. Below, what "
        f"each domain adds in {result.metric.unit}: the gain over a training of as many steps ({result.steps:,}) "
        "without it, positive where it helps. One seed, so small differences mean nothing."
    )


def _sentence(scores: FinetuneScores) -> str:
    metric = scores.metric
    before, after = (metric.format(each.value, each.margin) for each in (scores.before, scores.after))
    return f"On the validation split of {scores.task} the hybrid has {before} before the training and {after} after it."
