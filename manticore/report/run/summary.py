"""The result of a search in sentences that claim no more than the margins of its numbers allow."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot

from manticore.report.run.reading import Run
from manticore.report.run.tables import score_cell
from manticore.results.search import HYBRID, ModelRow, SearchResult
from manticore.training.metrics import Metric
from manticore.utils.formatting import counted, listed


@dataclass(frozen=True)
class Figure:
    """A headline number: its value, its label, and a note on what it is compared with."""

    value: str
    label: str
    note: str


def figures(result: SearchResult) -> list[Figure]:
    """Score of the hybrid, its differences to the best component and the best heuristic, and the discretization gap."""
    row, metric, gap = result.hybrid, result.metric, result.gap
    unit = "" if metric.suffix else f" in {metric.unit}"
    out = [Figure(score_cell(row, metric), f"test score{unit}", f"{row.score.count:,} examples, 95% margin")]
    for group in ("component", "heuristic"):
        rival = result.best(group)
        if rival is not None:
            change = metric.format_change(row.score.value - rival.score.value)
            out.append(Figure(change, f"difference to best {group}", f"{rival.name}, {score_cell(rival, metric)}"))
    soft, discrete = (metric.format(value, unit=False) for value in (gap.soft, gap.discrete))
    note = f"{soft.removesuffix(metric.suffix)} → {discrete}"
    out.append(Figure(metric.format_change(gap.discrete - gap.soft), "discretization gap", note))
    return out


def sentences(run: Run) -> list[str]:
    """The search space and the chosen path, its score, the discretization gap, and the exported model."""
    return [_search(run), _score(run.result), _gap(run.result), _export(run.result)]


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
    heuristic = result.best("heuristic")
    if heuristic is None:
        return text
    score = result.metric.format(heuristic.score.value)
    return f"{text} The dashed line is the best heuristic baseline, {heuristic.name} ({score})."


def comparison(row: ModelRow, rival: ModelRow, metric: Metric) -> str:
    """`4.2 points above mamba alone (58.8 ± 1.5 %), which exceeds the 95% margins`."""
    lead = metric.sort_key(row.score.value) - metric.sort_key(rival.score.value)
    size = metric.format_change(abs(lead), unit=False).lstrip("+")
    equal = not float(size)
    side = metric.better if lead > 0 else metric.worse
    text = f"equal to {rival.name}" if equal else f"{size} {metric.unit} {side} {rival.name}"
    text += f" ({score_cell(rival, metric)})"
    margin, rival_margin = row.score.margin, rival.score.margin
    if margin is None or rival_margin is None or rival.group == "heuristic" or equal:
        return text
    exceeds = abs(lead) > hypot(margin, rival_margin)
    return f"{text}, which {'exceeds' if exceeds else 'is within'} the 95% margins"


def discretization(soft: str, discrete: str, change: str, tuned: str) -> str:
    """The sentence on discretization; the arguments are formatted scores and their formatted difference."""
    return (
        f"Discretization changes the score from {soft} (soft mixture) to {discrete} (one path), {change}; "
        f"fine-tuning brings it to {tuned}."
    )


def _search(run: Run) -> str:
    path = run.architecture
    where = f"in the {path.topology} topology" + (f" with {path.base} as the base model" if run.has_base else "")
    if run.alphas is None:
        return f"The hybrid has {counted(path.stages, 'stage')} {where}. Its path is {path.summary()}."
    number = len(run.candidates) ** path.stages
    paths = f"{number:,} path{'s' if number > 1 else ''}"
    stages = f"each of {path.stages} stages" if path.stages > 1 else "1 stage"
    return (
        f"The search space has {paths}: {listed(run.candidates, 'or')} at {stages}, {where}. "
        f"The search chose {path.summary()}."
    )


def _score(result: SearchResult) -> str:
    row, metric = result.hybrid, result.metric
    score = score_cell(row, metric)
    article = "an" if metric.label[0] in "aeiou" else "a"
    reached = f"has {article} {metric.label} of {score}" if metric.suffix else f"needs {score} {metric.unit}"
    rivals = [rival for rival in (result.best("component"), result.best("heuristic")) if rival is not None]
    compared = "; ".join(comparison(row, rival, metric) for rival in rivals)
    return f"After fine-tuning, the hybrid {reached} on the test split{f': {compared}' if compared else ''}."


def _gap(result: SearchResult) -> str:
    metric, gap = result.metric, result.gap
    change = metric.format_change(gap.discrete - gap.soft)
    return discretization(metric.format(gap.soft), metric.format(gap.discrete), change, metric.format(gap.finetuned))


def _export(result: SearchResult) -> str:
    model = "the hybrid" if result.exported == HYBRID else f"{result.exported} alone, not the hybrid"
    return f"Exported: {model} ({result.exported_reason})."
