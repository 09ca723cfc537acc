"""The result of a run in sentences, with no more certainty than its numbers have. Knows nothing of markup."""

from __future__ import annotations

from dataclasses import dataclass
from math import hypot

from manticore.components.spec import SKIP
from manticore.report.run.reading import Run
from manticore.results.rows import ModelRow
from manticore.training.metrics import ACCURACY, BITS, Metric


@dataclass(frozen=True)
class Figure:
    """A number worth setting large: the number, what it is, and what it rests on."""

    value: str
    label: str
    note: str


def figures(run: Run) -> list[Figure]:
    """The headline numbers; those that the run does not have are left out."""
    row, gap = run.hybrid, run.metrics.get("gap") or {}
    if row is None:
        return []
    unit = "" if row.bits_per_byte is None else "bits per byte: "
    out = [Figure(row.score, f"{unit}the chosen path on test", _examples(run))]
    for group, label in (("component", "against the best component"), ("guess", "against the best guess")):
        other = run.best(group)
        if other is not None and (told := difference(row, other)):
            out.append(Figure(told, label, f"{other.name}, {other.score}"))
    if gap.get("soft") is not None and gap.get("discrete") is not None:
        before, after = _value(run, gap["soft"]), _value(run, gap["discrete"])
        out.append(
            Figure(
                _change(run, gap["soft"], gap["discrete"]), "soft to one-hot", f"{before.removesuffix(' %')} → {after}"
            )
        )
    return out


def sentences(run: Run) -> list[str]:
    """What was searched, what was chosen, how good it is, what it cost to discretize, what was exported."""
    return [text for text in (_searched(run), _scored(run), _discretized(run), _exported(run)) if text]


def difference(row: ModelRow, other: ModelRow) -> str:
    """How much better `row` is: `+4.2 points`, or less bits or nats; empty if they cannot be compared."""
    if row.value is None or other.value is None or row.metric != other.metric:
        return ""
    return row.metric.format_change(row.value - other.value)


def against(row: ModelRow, other: ModelRow) -> str:
    """`4.2 points above mamba alone (58.8 ± 1.5 %), more than the 95% margins explain`."""
    metric, ahead = row.metric, row.sort_key - other.sort_key
    size = metric.format_change(abs(ahead), unit=False).lstrip("+")
    level = not float(size)
    told = f"{size} {metric.unit} {metric.better if ahead > 0 else metric.worse} {other.name}"
    told = f"level with {other.name}" if level else told
    told += f" ({other.score})"
    if row.margin is None or other.margin is None or other.group == "guess" or level:
        return told
    clear = abs(ahead) > hypot(row.margin, other.margin)
    return told + (", more than the 95% margins explain" if clear else ", a difference within the 95% margins")


def discretized(soft: str, discrete: str, change: str, tuned: str | None) -> str:
    """What happened between the soft mixture and the fine-tuned path, told with scores that are words already."""
    told = f"From the soft mixture to the one-hot path it went from {soft} to {discrete} ({change})"
    return told + (f"; fine-tuning then brought it to {tuned}." if tuned is not None else ".")


def _searched(run: Run) -> str:
    held = run.architecture
    stages = f"{held.stages} stage{'s' if held.stages > 1 else ''}"
    where = f"in the {held.topology} topology, with {held.base} as base"
    if run.alphas is None:
        return f"The hybrid has {stages} {where}. Its path is {held.words()}."
    *most, last = ["nothing at all" if name == SKIP else name for name in run.candidates]
    some = f"{', '.join(most)} or {last}" if most else last
    each = "The one stage" if held.stages == 1 else f"Each of {stages}"
    ways = len(run.candidates) ** held.stages
    return (
        f"{each} could be run by {some}: {ways:,} path{'s' if ways > 1 else ''} {where}. "
        f"The search chose {held.words()}."
    )


def _scored(run: Run) -> str:
    row = run.hybrid
    if row is None:
        return ""
    told = f"Fine-tuned, it has an accuracy of {row.score} on the test split"
    if row.accuracy is None:
        told = f"Fine-tuned, it needs {row.score} {row.metric.unit} on the test split"
    others = [other for other in (run.best("component"), run.best("guess")) if other is not None]
    compared = [against(row, other) for other in others if difference(row, other)]
    return told + (": " + "; and ".join(compared) if compared else "") + "."


def _discretized(run: Run) -> str:
    gap = run.metrics.get("gap") or {}
    soft, discrete, tuned = (gap.get(name) for name in ("soft", "discrete", "finetuned"))
    if soft is None or discrete is None:
        return ""
    after = None if tuned is None else _value(run, tuned)
    return discretized(_value(run, soft), _value(run, discrete), _change(run, soft, discrete), after)


def _exported(run: Run) -> str:
    exported, why = run.metrics.get("exported"), run.metrics.get("exported_reason")
    if not exported:
        return ""
    what = "the hybrid" if exported == "hybrid" else f"{exported} alone, not the hybrid"
    return f"Exported: {what}" + (f" ({why})." if why else ".")


def _examples(run: Run) -> str:
    counts = {row.get("count") for row in run.metrics["rows"] if row.get("count")}
    return f"{counts.pop():,} examples, 95% margin" if len(counts) == 1 else "95% margin"


def _value(run: Run, value: float) -> str:
    return _metric(run).format(value)


def _change(run: Run, before: float, after: float) -> str:
    return _metric(run).format_change(after - before)


def _metric(run: Run) -> Metric:
    """What the gap is measured by."""
    return BITS if run.metrics.get("metric") == BITS.name else ACCURACY
