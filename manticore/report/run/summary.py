"""The result of a run in sentences, with no more certainty than its numbers have. Knows nothing of markup."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot

from manticore.components.spec import SKIP
from manticore.report.run.reading import Run
from manticore.report.run.table import score_cell
from manticore.results.search import HYBRID, ModelRow, SearchResult
from manticore.training.metrics import Metric


@dataclass(frozen=True)
class Figure:
    """A number worth setting large: the number, what it is, and what it rests on."""

    value: str
    label: str
    note: str


def figures(run: Run) -> list[Figure]:
    """The headline numbers: the hybrid's score, its lead over the best component and heuristic, and the gap."""
    result, row = run.result, run.result.hybrid
    metric, gap = result.metric, result.gap
    unit = "" if metric.suffix else f"{metric.unit}: "
    out = [
        Figure(score_cell(row, metric), f"{unit}the chosen path on test", f"{row.score.count:,} examples, 95% margin")
    ]
    for group, label in (("component", "against the best component"), ("heuristic", "against the best heuristic")):
        rival = result.best(group)
        if rival is not None:
            change = metric.format_change(row.score.value - rival.score.value)
            out.append(Figure(change, label, f"{rival.name}, {score_cell(rival, metric)}"))
    before, after = metric.format(gap.soft).removesuffix(metric.suffix), metric.format(gap.discrete)
    out.append(Figure(metric.format_change(gap.discrete - gap.soft), "soft to one-hot", f"{before} → {after}"))
    return out


def sentences(run: Run) -> list[str]:
    """What was searched, what was chosen, how good it is, what it cost to discretize, what was exported."""
    return [_searched(run), _scored(run.result), _discretized(run.result), _exported(run.result)]


def against(row: ModelRow, rival: ModelRow, metric: Metric) -> str:
    """`4.2 points above mamba alone (58.8 ± 1.5 %), more than the 95% margins explain`."""
    ahead = metric.sort_key(row.score.value) - metric.sort_key(rival.score.value)
    size = metric.format_change(abs(ahead), unit=False).lstrip("+")
    level = not float(size)
    text = f"{size} {metric.unit} {metric.better if ahead > 0 else metric.worse} {rival.name}"
    text = f"level with {rival.name}" if level else text
    text += f" ({score_cell(rival, metric)})"
    margin, other = row.score.margin, rival.score.margin
    if margin is None or other is None or rival.group == "heuristic" or level:
        return text
    clear = abs(ahead) > hypot(margin, other)
    return text + (", more than the 95% margins explain" if clear else ", a difference within the 95% margins")


def discretized(soft: str, discrete: str, change: str, tuned: str | None) -> str:
    """The sentence on discretization, from scores that are written already."""
    text = f"From the soft mixture to the one-hot path it went from {soft} to {discrete} ({change})"
    return text + (f"; fine-tuning then brought it to {tuned}." if tuned is not None else ".")


def _searched(run: Run) -> str:
    path = run.architecture
    stages = f"{path.stages} stage{'s' if path.stages > 1 else ''}"
    where = f"in the {path.topology} topology, with {path.base} as base"
    if run.alphas is None:
        return f"The hybrid has {stages} {where}. Its path is {path.words()}."
    *most, last = ["nothing at all" if name == SKIP else name for name in run.candidates]
    some = f"{', '.join(most)} or {last}" if most else last
    each = "The one stage" if path.stages == 1 else f"Each of {stages}"
    ways = len(run.candidates) ** path.stages
    return (
        f"{each} could be run by {some}: {ways:,} path{'s' if ways > 1 else ''} {where}. "
        f"The search chose {path.words()}."
    )


def _scored(result: SearchResult) -> str:
    row, metric = result.hybrid, result.metric
    score = score_cell(row, metric)
    reached = f"has an accuracy of {score}" if metric.suffix else f"needs {score} {metric.unit}"
    rivals = [rival for rival in (result.best("component"), result.best("heuristic")) if rival is not None]
    compared = "; and ".join(against(row, rival, metric) for rival in rivals)
    return f"Fine-tuned, it {reached} on the test split{f': {compared}' if compared else ''}."


def _discretized(result: SearchResult) -> str:
    metric, gap = result.metric, result.gap
    change = metric.format_change(gap.discrete - gap.soft)
    return discretized(metric.format(gap.soft), metric.format(gap.discrete), change, metric.format(gap.finetuned))


def _exported(result: SearchResult) -> str:
    model = "the hybrid" if result.exported == HYBRID else f"{result.exported} alone, not the hybrid"
    return f"Exported: {model} ({result.exported_reason})."
