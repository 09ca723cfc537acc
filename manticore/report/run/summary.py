"""The result of a search in sentences that claim no more than the margins of its numbers allow."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot

from manticore.nas.architecture import Architecture
from manticore.nas.bits import FULL
from manticore.nas.stage_scores import StageScores
from manticore.report.run.reading import Run
from manticore.report.run.tables import lead_units, score_cell, verdict
from manticore.results.search import HYBRID, ModelRow, SearchResult
from manticore.training.metrics import Metric
from manticore.utils.formatting import counted, listed


@dataclass(frozen=True)
class Figure:
    """A headline number: value, label, and a note that names what it is compared with.

    `verdict` is `better`, `worse` or empty, and colors the value.
    """

    value: str
    label: str
    note: str
    verdict: str = ""


def figures(result: SearchResult) -> list[Figure]:
    """Score of the hybrid, its lead over the best component and the best heuristic, and the discretization gap."""
    row, metric, gap = result.hybrid, result.metric, result.gap
    unit = "" if metric.suffix else f" in {metric.unit}"
    out = [Figure(score_cell(row, metric), f"test score{unit}", f"{row.score.count:,} examples, 95% margin")]
    for group in ("component", "heuristic"):
        rival = result.best(group)
        if rival is not None:
            out.append(_lead_figure(result, rival, group))
    soft, discrete = (metric.format(value, unit=False) for value in (gap.soft, gap.discrete))
    note = f"{soft.removesuffix(metric.suffix)} → {discrete}"
    lead = metric.sort_key(gap.discrete) - metric.sort_key(gap.soft)
    out.append(Figure(metric.format_lead(lead, unit=False), "as one path than as a mixture", note))
    return out


def _lead_figure(result: SearchResult, rival: ModelRow, group: str) -> Figure:
    """How much better or worse the hybrid is than the best row of a group."""
    metric, lead = result.metric, _lead(result.hybrid, rival, result.metric)
    note = f"{rival.name}, {score_cell(rival, metric)}"
    if rival.lead is not None and rival.lead.margin is not None:
        margin = metric.format(rival.lead.margin, unit=False).removesuffix(metric.suffix)
        note = f"± {margin} {metric.unit} over the same {lead_units(rival, metric)}; {note}"
    return Figure(metric.format_lead(lead, unit=False), f"than the best {group}", note, verdict(rival.lead))


def _lead(row: ModelRow, rival: ModelRow, metric: Metric) -> float:
    """How far a row is ahead of a rival; positive where it is better."""
    if rival.lead is not None:
        return rival.lead.mean
    return metric.sort_key(row.score.value) - metric.sort_key(rival.score.value)


def sentences(run: Run) -> list[str]:
    """The search space and the chosen path, its score, the discretization gap, and what was exported."""
    return [_search(run), _score(run.result), _gap(run.result), export_sentence(run.result)]


def component_sentences(run: Run) -> list[str]:
    """A component that is better than the hybrid: its score, and how the hybrid compares with it."""
    result, metric = run.result, run.result.metric
    row, hybrid = result.best_row, result.hybrid
    return [
        f"The model is {result.best_model} by itself, trained on {result.task} in a search for hybrids.",
        f"It {_reached(row, metric)} on the test split. The hybrid that the search found {_reached(hybrid, metric)}: "
        f"{comparison(hybrid, row, metric)}.",
        export_sentence(result) if result.exported != HYBRID else f"Exported beside the hybrid ({result.best_reason}).",
    ]


def path_caption(run: Run) -> str:
    """How the path diagram is read."""
    text = "The stream runs from left to right; the chosen candidate of each stage is filled. "
    if run.has_base:
        text += (
            f"Segments of the base model, {run.architecture.base}, carry the stream. A donor segment reads the stream "
            "through the projector P and adds its update through the projector Q."
        )
    else:
        text += "Every chosen segment carries the stream."
    if run.alphas is not None:
        text += " Numbers and tints are the mixing weights at the end of the search."
    return text


def comparison_caption(result: SearchResult) -> str:
    """How the comparison table is read."""
    text = (
        "All models are scored on the same test split, which is read once. Margins are 95% confidence intervals for "
        "the size of the split; they do not contain the variation between seeds."
    )
    if any(row.lead is not None for row in result.rows):
        text += (
            " “The hybrid is” compares each model with the hybrid after fine-tuning, example by example, so that its "
            "margins are narrower; it is in color where the interval excludes zero."
        )
    heuristic = result.best("heuristic")
    if heuristic is None:
        return text
    score = result.metric.format(heuristic.score.value)
    return f"{text} The dashed line is the best heuristic baseline, {heuristic.name} ({score})."


def comparison(row: ModelRow, rival: ModelRow, metric: Metric) -> str:
    """`better than mamba alone (58.8 ± 1.5 %) by 4.2 ± 1.9 points`, and whether the interval includes zero."""
    lead, name = _lead(row, rival, metric), f"{rival.name} ({score_cell(rival, metric)})"
    margin = None if rival.lead is None else rival.lead.margin
    side, _, size = metric.format_lead(lead, margin).partition(" ")
    if side == "equal":
        return f"equal to {name}" + (f" ({size})" if size else "")
    text = f"{side} than {name} {size}"
    if rival.lead is not None:
        return text if rival.lead.excludes_zero else f"{text}, {_uncertain(rival)}"
    margins = row.score.margin, rival.score.margin
    if margins[0] is None or margins[1] is None or rival.group == "heuristic":
        return text
    return f"{text}, which {'exceeds' if abs(lead) > hypot(margins[0], margins[1]) else 'is within'} the 95% margins"


def _uncertain(rival: ModelRow) -> str:
    return "without an interval" if rival.lead is None or rival.lead.low is None else "an interval that includes zero"


def stage_scores_caption(scores: StageScores) -> str:
    """The measure of the stage scores, and how the path was selected by them."""
    unit = f" in {scores.unit}" if scores.unit else ""
    better = "lower is better" if scores.lower_is_better else "higher is better"
    text = f"{scores.measure[:1].upper()}{scores.measure[1:]} of each candidate at each stage{unit}; {better}."
    text += f" Margins: {scores.spread_of}." if scores.spread is not None else ""
    text += f" {scores.rule}" if scores.rule else ""
    text += f" That mean, the dashed line, is {scores.threshold:.3g}." if scores.threshold is not None else ""
    return " ".join([text, *path_warnings(scores)])


def path_warnings(scores: StageScores | None) -> list[str]:
    """The warnings about the choice of the path, as sentences."""
    return [] if scores is None else [f"Warning: {warning}." for warning in scores.warnings]


def discretization(soft: str, discrete: str, change: str, tuned: str) -> str:
    """The sentence on discretization; the arguments are formatted scores and their difference in words."""
    return (
        f"Discretization: the score is {soft} as a soft mixture and {discrete} as one path, {change}; fine-tuning "
        f"brings it to {tuned}."
    )


def _search(run: Run) -> str:
    path = run.architecture
    where = f"in the {path.topology} topology" + (f" with {path.base} as the base model" if run.has_base else "")
    if run.alphas is None:
        return f"The hybrid has {counted(path.stages, 'stage')} {where}. Its path is {path.summary()}."
    number = run.choices.count
    paths = f"{number:,} path{'s' if number > 1 else ''}"
    stages = f"each of {path.stages} stages" if path.stages > 1 else "1 stage"
    if run.choices.masked:
        stages += ", some of which have fewer candidates"
    if run.choices.shared:
        stages += ", some of which share their choice"
    return (
        f"The search space has {paths}: {listed(run.candidates, 'or')} at {stages}, {where}. "
        f"The search chose {path.summary()}."
    )


def _score(result: SearchResult) -> str:
    row, metric = result.hybrid, result.metric
    rivals = [rival for rival in (result.best("component"), result.best("heuristic")) if rival is not None]
    compared = "; ".join(comparison(row, rival, metric) for rival in rivals)
    return (
        f"After fine-tuning, the hybrid {_reached(row, metric)} on the test split{f': {compared}' if compared else ''}."
    )


def _reached(row: ModelRow, metric: Metric) -> str:
    """`has an accuracy of 63.0 ± 1.5 %`, `needs 1.712 ± 0.318 bits per byte`."""
    score = score_cell(row, metric)
    article = "an" if metric.label[0] in "aeiou" else "a"
    return f"has {article} {metric.label} of {score}" if metric.suffix else f"needs {score} {metric.unit}"


def _gap(result: SearchResult) -> str:
    metric, gap = result.metric, result.gap
    change = metric.format_lead(metric.sort_key(gap.discrete) - metric.sort_key(gap.soft))
    return discretization(metric.format(gap.soft), metric.format(gap.discrete), change, metric.format(gap.finetuned))


FULL_PRECISION = "The weights are in full precision:"
"""Start of the sentence on the bits of a path."""


def precision_sentence(architecture: Architecture) -> str:
    """What the export of a path that was selected with bits consists of; empty for one without."""
    if not architecture.bits:
        return ""
    text = f"{FULL_PRECISION} the bits of the path ({architecture.summary()}) were simulated in its selection."
    if set(architecture.bits) == {FULL}:  # there is nothing to quantize
        return text
    return f"{text} `manticore export RUN --quantize torchao --out FOLDER` writes them quantized."


def export_sentence(result: SearchResult) -> str:
    """Which model is in `hybrid/`, and which one is the best by validation score."""
    if result.best_model == HYBRID:
        text = "the hybrid, which is best"
    elif result.exported == HYBRID:
        text = f"the hybrid; {result.best_model} alone is better"
    else:
        text = f"{result.exported} alone, which is better than the hybrid"
    return f"Exported: {text} ({result.best_reason})."
