"""The Pareto front of a run: its table, and its picture on the report page."""

from __future__ import annotations

from markupsafe import Markup

from manticore.nas.resources import Resource
from manticore.report.charts.front import FrontDot, front_chart
from manticore.report.charts.palette import ACCENT, INK, MUTED, Palette
from manticore.report.table import Row, Table
from manticore.results.pareto import ParetoFront, ParetoPoint
from manticore.utils.formatting import listed

QUALITIES = {"score": "score", "loss": "validation loss (nats)", "bits_per_byte": "validation bits per byte"}

SHOWN_DOMINATED = 12
"""Largest number of dominated paths without a label in the table."""


def front_table(front: ParetoFront) -> Table:
    """The front, then the dominated paths that have a label, then others."""
    dominated = [point for point in front.points if not point.on_front]
    named = [point for point in dominated if point.label]
    rest = sorted((point for point in dominated if not point.label), key=lambda point: point.costs)
    rows = [
        *(_row(front, point, "front") for point in front.front),
        *(_row(front, point, "compared") for point in named),
        *(_row(front, point, "dominated") for point in rest[:SHOWN_DOMINATED]),
    ]
    columns = ("path", QUALITIES[front.quality], *front.resources, "")
    return Table(columns, tuple(rows), f"Pareto front by {front.selector}, before fine-tuning")


def _row(front: ParetoFront, point: ParetoPoint, group: str) -> Row:
    resources = map(Resource.parse, front.resources)
    values = (resource.number(cost) for resource, cost in zip(resources, point.costs, strict=True))
    note = point.label if point.on_front else f"{point.label}, dominated".removeprefix(", ")
    return Row((point.summary, f"{point.quality:.4f}", *values, note), group, emphasized=point.on_front)


def front_charts(front: ParetoFront, palette: Palette) -> list[Markup]:
    """A chart for each cost."""
    return [_chart(front, index, Resource.parse(name), palette) for index, name in enumerate(front.resources)]


def _chart(front: ParetoFront, index: int, resource: Resource, palette: Palette) -> Markup:
    dots = [
        FrontDot(
            cost=point.costs[index],
            quality=point.quality,
            color=_color(point, palette),
            tooltip=f"{point.summary}: {point.quality:.4f}, {resource.format(point.costs[index])}"
            f"{f' ({point.label})' if point.label else ''}",
            name=point.label,
            on_front=point.on_front,
        )
        for point in front.points
    ]
    factor, unit = _unit(max(dot.cost for dot in dots), resource)
    title = f"{resource} ({unit})" if unit else str(resource)
    return front_chart(dots, QUALITIES[front.quality], title, factor, front.lower_is_better)


def _color(point: ParetoPoint, palette: Palette) -> str:
    if point.label == "selected":
        return INK
    if point.label.endswith(" alone"):
        return palette.of_phase(point.label)
    return ACCENT if point.on_front else MUTED


def _unit(largest: float, resource: Resource) -> tuple[float, str]:
    """The unit in which the largest cost is a number of at most four digits."""
    steps = {"bytes": (1024.0, ("bytes", "KiB", "MiB", "GiB", "TiB")), "ms": (1000.0, ("ms", "s"))}
    base, names = steps.get(resource.unit, (1000.0, ("", "K", "M", "B" if resource.unit == "count" else "G", "T")))
    power = 0
    while largest >= base ** (power + 1) and power < len(names) - 1:
        power += 1
    return base**power, names[power]


def front_caption(front: ParetoFront) -> str:
    """What the picture and the table show, in sentences."""
    count, dominated = len(front.front), len(front.points) - len(front.front)
    within = f" Paths have {front.limits}." if front.limits else ""
    measured = f"as {front.selector} scored them"
    if any(point.bits for point in front.points):
        measured = "with the weights of the search, under simulated quantization"
    return (
        f"{count} of {count + dominated} compared paths are not dominated in {QUALITIES[front.quality]} and "
        f"{listed(front.resources)}: filled, joined by a line.{within} Quality is that of the paths {measured}, before "
        "fine-tuning; manticore select --out trains and exports them."
    )
